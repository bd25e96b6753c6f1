"""What goes wrong while text is prepared: the fault is told, what was done is kept, and the same bytes come out."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertwright.text.parts import PART_BYTES

Toy = Callable[..., Path]


def text(megabytes: float, seed: int = 0, document: int = 2000) -> str:
    """Return made-up documents with blank lines between."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(1, 6))) for _ in range(500)]
    found, size = [], 0
    while size < megabytes * 1e6:
        found.append(" ".join(draw.choices(words, k=document // 5)))
        size += len(found[-1])
    return "\n\n".join(found)


def prepare(path: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    """Prepare in a process of its own, whose memory is not that of the tests."""
    command = [sys.executable, "-m", "bertwright.cli.main", "prepare", str(path), "--json", "-q", *changes]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def results(path: Path, *changes: str) -> dict[str, Any]:
    """Prepare and return the stage's results."""
    done = prepare(path, *changes)
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return dict(found["stages"]["prepare"]["results"])


def refused(path: Path, *changes: str) -> str:
    """Prepare and return what is said where that exits with 2."""
    done = prepare(path, *changes)
    assert 2 == done.returncode
    return done.stderr


def shards(store: Path) -> dict[str, bytes]:
    """Return the bytes of all sealed shards."""
    return {
        path.name: path.read_bytes() for path in store.glob("stages/prepare-*/*.bin") if ".partial" not in str(path)
    }


def test_a_document_that_the_memory_has_no_room_for(toy: Toy, tmp_path: Path) -> None:
    """One line of 12 MB in a stage that may take 600 MB: told with what to do; with a longest length it is counted."""
    (tmp_path / "texts" / "1.txt").write_text(text(12.0, document=14_000_000) + "\n\n" + text(0.01))
    path = toy(tasks=None, pretrain=None, system={"memory": "600 MB"})
    message = refused(path)
    assert "1.txt: a document has more than 10.0 MB" in message
    assert "Allow more memory, part the text into documents, or set `prepare.longest`" in message
    found = results(path, "prepare.longest=100000")
    assert {"documents longer than asked for, left out": 1} == found["troubles"]
    assert 1 == results(path, "system.memory=4GB")["documents"] - found["documents"]


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_packed_file_that_ends_in_the_middle(toy: Toy, tmp_path: Path, cut: float) -> None:
    """It is named, with what to do; with the whole file in its place all of its text is read."""
    whole = gzip.compress(text(3 * PART_BYTES / 1e6).encode(), 1)
    source = tmp_path / "texts" / "1.txt.gz"
    (tmp_path / "texts" / "1.txt").unlink()
    source.write_bytes(whole[: int(len(whole) * cut)])
    path = toy(tasks=None, pretrain=None)
    assert "1.txt.gz is cut off or damaged" in refused(path)
    source.write_bytes(whole)
    assert 5e6 < results(path)["bytes"]


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_a_disk_that_fills_while_text_is_prepared(toy: Toy, tmp_path: Path, small_disk: Path, suffix: str) -> None:
    """Exit 2 with what to do, in the middle of the parts; with space again the same bytes come out."""
    shutil.rmtree(tmp_path / "texts")
    (tmp_path / "texts").mkdir()
    content = text(24).encode()
    (tmp_path / "texts" / f"a{suffix}").write_bytes(gzip.compress(content, 1) if suffix.endswith("gz") else content)
    path = toy(tasks=None, pretrain=None)
    # The forecast refuses what it sees will not fit; here it is told of more room than there is.
    lie = (
        "import shutil, sys, types; from bertwright.pipeline import forecast; from bertwright.cli import main as cli;"
        "forecast.shutil = types.SimpleNamespace(disk_usage=lambda _: types.SimpleNamespace(free=1 << 40));"
        "sys.exit(cli.call(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", lie, "prepare", str(path), "-q"]
    failed = subprocess.run([*command, f"store={small_disk / 's'}"], capture_output=True, text=True, check=False)
    assert 2 == failed.returncode
    assert "the disk is full" in failed.stderr
    assert list(small_disk.glob("s/stages/prepare-*.partial/scratch/parts/*/part.json"))
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    for store in (small_disk / "s", tmp_path / "whole"):
        subprocess.run([*command, f"store={store}"], capture_output=True, check=True)
    assert shards(tmp_path / "whole") == shards(small_disk / "s") != {}


def test_a_disk_too_small_is_refused_before_the_work(toy: Toy, tmp_path: Path, small_disk: Path) -> None:
    """What the forecast sees will not fit is told in seconds."""
    (tmp_path / "texts" / "1.txt").write_text(text(60))
    command = [sys.executable, "-m", "bertwright.cli.main", "prepare", str(toy(tasks=None, pretrain=None)), "-q"]
    failed = subprocess.run([*command, f"store={small_disk / 's'}"], capture_output=True, text=True, check=False)
    assert (2, True) == (failed.returncode, "of disk and" in failed.stderr), failed.stderr
    assert not list(small_disk.glob("s/stages/*"))

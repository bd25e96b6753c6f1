"""A killed run, continued by the same command, ends with the bits of an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bertwright import files, load_recipe
from bertwright.store import Store

Toy = Callable[..., Path]

# What is compared: model weights and rows. Records hold times, and metrics hold seconds.
EXACT = (".safetensors", ".bin")


def command(path: Path, store: Path) -> list[str]:
    """Return the command that runs a recipe into a store."""
    return [sys.executable, "-m", "bertwright.cli", "run", str(path), f"store={store}", "--quiet", "--json"]


def exact(store: Path) -> dict[str, str]:
    """Return the checksum of every file that has to be the same."""
    return {
        str(path.relative_to(store)): files.checksum(path)
        for path in sorted(store.rglob("*"))
        if path.suffix in EXACT and path.is_file()
    }


def kill_often(toy: Toy, tmp_path: Path, kills: int) -> None:
    """Run once whole; then once with kills at random moments until it ends; compare."""
    path = toy(
        pretrain={"budget": "120 steps", "checkpoint_every": "20 steps"},
        finetune={"seeds": 1, "baseline": False, "epochs": 4, "checkpoint_every": "4 steps"},
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begun = time.monotonic()
    subprocess.run(command(path, whole), check=True, capture_output=True)
    length = time.monotonic() - begun
    draw, done = random.Random(7), 0
    while done < kills:
        process = subprocess.Popen(command(path, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(draw.uniform(0.25, 0.9) * length)
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
            assert [] == Store(killed).verify()
    final = subprocess.run(command(path, killed), check=True, capture_output=True, text=True)
    assert json.loads(final.stdout.splitlines()[-1])["ok"]
    assert done > 0
    assert exact(whole) == exact(killed)
    assert not list(Store(load_recipe(path, [f"store={killed}"]).store).stages.glob("*.partial"))


def test_five_kills_lose_nothing(toy: Toy, tmp_path: Path) -> None:
    """Five kills at random moments of the whole road."""
    kill_often(toy, tmp_path, 5)


@pytest.mark.long
def test_twenty_kills_lose_nothing(toy: Toy, tmp_path: Path) -> None:
    """Twenty kills at random moments of the whole road."""
    kill_often(toy, tmp_path, 20)


def test_two_runs_on_one_store_do_not_harm_it(toy: Toy, tmp_path: Path) -> None:
    """Of two equal commands at once one may find the other's lock, exit 2 and name it; the store is whole and the
    loser's next try finds everything done."""
    path, store = toy(finetune={"seeds": 1, "baseline": False}), tmp_path / "store"
    both = [
        subprocess.Popen(command(path, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    told = [process.communicate() for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    for code, (_, stderr) in zip(codes, told, strict=True):
        assert code == 0 or (code == 2 and "another run works on this stage (process " in stderr)
    assert [] == Store(store).verify()
    assert 0 == subprocess.run(command(path, store), capture_output=True, check=False).returncode


def test_sigterm_saves_and_the_same_command_continues(toy: Toy, tmp_path: Path) -> None:
    """SIGTERM in the middle of pretraining exits 1, says that all is saved, and loses no step."""
    path, store = toy(tasks=None, pretrain={"budget": "4000 steps", "checkpoint_every": "100000 steps"}), tmp_path / "s"
    process = subprocess.Popen(command(path, store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(row.get("step", 0) > 5 for p in store.glob("stages/pretrain*/metrics.jsonl") for row in _rows(p)):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert 1 == process.returncode
    assert "all is saved and the same command continues" in stderr
    [state] = store.glob("stages/pretrain*/scratch/whole/checkpoint-*/state.json")
    assert json.loads(state.read_text())["step"] > 5


def _rows(path: Path) -> list[dict[str, float]]:
    return files.read_json_lines(path)

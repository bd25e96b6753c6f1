"""The whole way from packed text to shuffled shards: speed, memory, disk, and whether processes change a byte.

    python benchmarks/prepare.py [FILE ...] [--limit "1 GB"] [--near] [--times N] [--processes 1,2]

Without files the real Wikipedia beside the repository (191 MB in four packed files) is read. `--times` reads it so
many times, each time with other words, for larger corpora. Memory is the summed PSS of all processes, mapped files
apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import tokenizers
import zstandard

from bertwright.processes import Processes
from bertwright.stages.prepare import processes_for
from bertwright.text.corpus import Choices
from bertwright.text.executors import Crew
from bertwright.text.prepare import prepare_rows
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer
from bertwright.units import parse_bytes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SPECIAL = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
WIKIPEDIA = ["wikipedia-00.txt.zst", "wikipedia-01.txt.zst", "wikipedia-02.txt.zst", "wikipedia-03.jsonl.zst"]


class Watch:
    """The largest summed PSS of this process and its children, and the largest disk use of a folder."""

    def __init__(self, folder: Path) -> None:
        self.memory = self.disk = 0
        self._folder, self._stop = folder, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.2):
            self.memory = max(self.memory, sum(anonymous(p) for p in [me, *me.children(recursive=True)]))
            self.disk = max(self.disk, size_of(self._folder))


def anonymous(process: psutil.Process) -> int:
    """Return a process's share of memory without pages of mapped files."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return found.get("Pss_Anon", 0) + found.get("Pss_Shmem", 0)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for root, _, names in os.walk(folder):  # not by rglob, which gives up where a folder goes away meanwhile
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(root, name).stat().st_size
    return total


def digest(folder: Path) -> str:
    """Return one hash over all shards and the manifest."""
    found = hashlib.sha256()
    for path in [*sorted(folder.glob("*.bin")), folder / "manifest.json"]:
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def repeated(paths: list[str], times: int, folder: Path) -> list[str]:
    """Write the texts so many times with other words, packed; copies of them would be duplicates."""
    folder.mkdir()
    written = []
    for number in range(times):
        for path in paths:
            with Path(path).open("rb") as stream:
                content = zstandard.ZstdDecompressor().stream_reader(stream).read()
            target = folder / f"{number:03d}-{Path(path).name}"
            # "the" to another word in each copy: every document changes, and its length hardly does.
            target.write_bytes(zstandard.compress(content.replace(b" the ", b" t%02de " % (number % 100)), 1))
            written.append(str(target))
    return written


def once(sources: list[str], tokenizer: Path, folder: Path, processes: int, limit: int, near: bool) -> dict[str, Any]:
    """Prepare once and return the figures."""
    choices = Choices(row_length=128, held_out=0.005, seed=0, near=0.7 if near else None)
    begun = time.perf_counter()
    with Watch(folder) as watch, Processes(processes) as executor:
        place = {"scratch": folder / "scratch", "crew": Crew(executor, processes), "memory": limit}
        text_files = expand([Source(path) for path in sources])
        summary = prepare_rows(text_files, tokenizer, folder / "rows", choices, **place)
    seconds = time.perf_counter() - begun
    return {
        "seconds": seconds,
        "bytes": summary.bytes,
        "mb_per_s": summary.bytes / 1e6 / seconds,
        "peak_gb": watch.memory / 1e9,
        "disk_peak_ratio": watch.disk / summary.bytes,
        "disk_end_ratio": size_of(folder / "rows") / summary.bytes,
        "documents": summary.documents,
        "near_duplicates": summary.near_duplicates,
        "digest": digest(folder / "rows"),
        "engine": summary.engine,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--limit", default="1 GB")
    parser.add_argument("--near", action="store_true")
    parser.add_argument("--times", type=int, default=0)
    parser.add_argument("--processes", default=f"1,{len(os.sched_getaffinity(0))}")
    arguments = parser.parse_args()
    limit = parse_bytes(arguments.limit)
    wikipedia = [str(DATA / "corpora" / "wikipedia" / name) for name in WIKIPEDIA]
    results = []
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        backend = tokenizers.BertWordPieceTokenizer(str(DATA / "vocab" / "bert-base-uncased-vocab.txt"), lowercase=True)
        Tokenizer(backend._tokenizer, SPECIAL).save(folder / "tokenizer", max_length=512)
        sources = arguments.files or wikipedia
        if arguments.times:
            sources = repeated(sources, arguments.times, folder / "texts")
        for wanted in map(int, arguments.processes.split(",")):
            count = min(wanted, processes_for(expand([Source(path) for path in sources]), wanted, limit))
            found = once(sources, folder / "tokenizer", folder / f"run-{wanted}", count, limit, arguments.near)
            results.append({"processes": count, **found})
            print(
                f"{count} process(es): {found['mb_per_s']:.1f} MB/s, {found['peak_gb']:.2f} GB of memory; disk bytes "
                f"a byte of text: {found['disk_peak_ratio']:.2f} at the peak, {found['disk_end_ratio']:.2f} at the end"
            )
            shutil.rmtree(folder / f"run-{wanted}")
    best = results[-1]
    same = len({one["digest"] for one in results}) == 1
    print(json.dumps({**best, "limit_gb": limit / 1e9, "workers_identical": same, "runs": results}))


if __name__ == "__main__":
    main()

"""Corpora of odd shapes under a limit of memory: very many documents, very long ones, one large row group.

    python benchmarks/odd_corpora.py [--limit "1 GB"] [--only tiny,long,group]

The texts are made up. Memory is the summed PSS of all processes, mapped files apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bertwright.text.memory import room_for
from bertwright.text.tokenizer import train_tokenizer
from bertwright.units import parse_bytes
from prepare import once

_PROCESSES = 2
_TINY, _LONG, _GROUP = 2_000_000, 6, 400_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", default="1 GB")
    parser.add_argument("--only", default="tiny,long,group")
    arguments = parser.parse_args()
    limit = parse_bytes(arguments.limit)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        tokenizer = train_tokenizer(_texts(20_000, 12), kind="wordpiece", vocabulary=2000, lowercase=True)
        tokenizer.save(folder / "tokenizer", max_length=512)
        for shape in arguments.only.split(","):
            path = {"tiny": _tiny, "long": _long, "group": _group}[shape](folder, limit)
            found = once([str(path)], folder / "tokenizer", folder / shape, _PROCESSES, limit, near=False)
            results[shape] = found
            print(
                f"{shape}: {found['documents']:,} documents, {found['bytes'] / 1e6:.0f} MB at {found['mb_per_s']:.1f} "
                f"MB/s, {found['peak_gb']:.2f} GB of memory"
            )
            path.unlink()
    peak = max(found["peak_gb"] for found in results.values())
    print(json.dumps({"limit_gb": limit / 1e9, "peak_gb": peak, "within_limit": peak <= limit / 1e9, "runs": results}))


def _texts(count: int, words: int) -> Iterator[str]:
    draw = random.Random(0)
    known = ["".join(draw.choices("abcdefghijklmnoprstu", k=draw.randint(2, 9))) for _ in range(20_000)]
    for _ in range(count):
        yield " ".join(draw.choices(known, k=words))


def _tiny(folder: Path, _limit: int) -> Path:
    path = folder / "tiny.jsonl"
    with path.open("w") as stream:
        stream.writelines(json.dumps({"text": text}) + "\n" for text in _texts(_TINY, 3))
    return path


def _long(folder: Path, limit: int) -> Path:
    """Write documents as long as there is room for, with a character that makes all of one's take four bytes."""
    path, words = folder / "long.txt", room_for(limit, _PROCESSES) // 7
    with path.open("w") as stream:
        for text in _texts(_LONG, words):
            stream.write(f"\N{GRINNING FACE} {text}"[: int(room_for(limit, _PROCESSES) * 0.99)] + "\n\n")
    return path


def _group(folder: Path, _limit: int) -> Path:
    path = folder / "group.parquet"
    made = multiprocessing.Process(target=_write_group, args=(path,))  # so that its memory is not counted here
    made.start()
    made.join()
    return path


def _write_group(path: Path) -> None:
    texts = list(_texts(_GROUP // 3000, 460))
    pq.write_table(pa.table({"text": texts}), path, row_group_size=len(texts))


if __name__ == "__main__":
    main()

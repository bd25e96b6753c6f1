"""A short probe of this machine: how many threads a batch takes, and how many tokens a batch should have."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bertwright.deploy.runtime import Runtime
from bertwright.processes import processors

_SIZES = (256, 512, 1024, 2048, 4096)
_TURNS = 5
# What fewer threads, or smaller batches, may cost: they leave room for others, and answers come sooner.
_ALLOWED = 1.05
_LENGTH = 32


@dataclass(frozen=True)
class Probed:
    """What was measured: milliseconds of one row of 32 tokens by threads, and tokens a second by a batch's tokens."""

    threads: int
    tokens: int
    row_ms: dict[int, float]
    tokens_per_second: dict[int, float]


def fitted(folder: Path | str) -> tuple[Runtime, Probed]:
    """Open a folder with the threads and batches that suit this machine; it takes some seconds.

    Of threads the fewest are taken that cost one row at most 5 % more time than the best, of batches the smallest that
    cost at most 5 % of the rows a second.
    """
    length = min(_LENGTH, Runtime(folder, threads=1).config.positions)
    rows: dict[int, float] = {}
    count = 1
    while count <= processors():
        rows[count] = _milliseconds(Runtime(folder, threads=count), 1, length)
        count = min(2 * count, processors()) if count < processors() else count + 1
    threads = min(number for number, took in rows.items() if took <= _ALLOWED * min(rows.values()))
    runtime = Runtime(folder, threads=threads)
    speeds = {}
    for tokens in _SIZES:
        batch = max(1, tokens // length)
        speeds[tokens] = 1e3 * batch * length / _milliseconds(runtime, batch, length)
    runtime.tokens = min(size for size, speed in speeds.items() if speed * _ALLOWED >= max(speeds.values()))
    return runtime, Probed(threads, runtime.tokens, rows, speeds)


def _milliseconds(runtime: Runtime, rows: int, length: int) -> float:
    """Return the median time of a batch; the first warms up."""
    batch, times = runtime.drawn(rows, length), []
    for _ in range(_TURNS + 1):
        begun = time.perf_counter()
        runtime.begin(batch).run()
        times.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(times[1:])

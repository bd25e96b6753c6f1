"""What batching and joining batches can gain: the part of a segment's time that does not grow with its rows.

    python benchmarks/batching.py [--size toy|trial|base] [--length N] [--rounds N]

A drawn encoder in int8, one thread, processor time. A segment of n rows takes about `fixed + n x row`. The more of a
single row's time is fixed, the more a batch saves, and the more would be saved by joining rows that stopped half-way
with a later batch that reaches their layer. `joining_saves` is the most that this can give: of a row that is alone
after half of the layers, the fixed part of the other half, as a share of its whole time; the row has to wait for the
other batch's first half meanwhile. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bertwright.deploy.rows import Row
from bertwright.deploy.runtime import Runtime
from load import WORDS, build

ROWS = (1, 2, 4, 8, 16, 32)


def seconds(runtime: Runtime, rows: int, length: int) -> float:
    """Return the processor time of a segment with so many rows of one pack that leaves at the end, on average."""
    text = " ".join(WORDS[: length - 2])
    row = runtime.encode(Row((text,), "pack-0"))
    flight = runtime.begin([row] * rows)
    begun, layers = time.process_time(), 0
    while flight.rows_left:
        flight.step()
        layers += 1
    return (time.process_time() - begun) / layers


def measure(size: str = "base", length: int = 32, rounds: int = 15) -> dict[str, Any]:
    """Measure in turns and fit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, size)
        runtime = Runtime(folder / "export", threads=1)
        runtime.add(folder / "packs" / "pack-0.pack")
        tokens = runtime.encode(Row((" ".join(WORDS[: length - 2]),), "pack-0")).tokens
        times: dict[int, list[float]] = {rows: [] for rows in ROWS}
        for _ in range(rounds):
            for rows in ROWS:
                times[rows].append(seconds(runtime, rows, length))
    medians = [statistics.median(times[rows]) for rows in ROWS]
    # Each size counts alike: the error of a share, not of seconds.
    weights = 1 / np.array(medians)
    design = np.stack([np.ones(len(ROWS)), np.array(ROWS, dtype=float)], axis=1) * weights[:, None]
    fixed, row = np.linalg.lstsq(design, np.ones(len(ROWS)), rcond=None)[0]
    share = float(max(fixed, 0.0) / (fixed + row))
    return {
        "size": size,
        "tokens": tokens,
        "milliseconds": dict(zip(map(str, ROWS), (1e3 * one for one in medians), strict=True)),
        "fixed_ms": 1e3 * float(fixed),
        "row_ms": 1e3 * float(row),
        "fixed_share_of_one_row": share,
        "joining_saves": share / 2,
        "batch_of_32_gains": ROWS[-1] * medians[0] / medians[-1],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("toy", "trial", "base"), default="base")
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    found = measure(**vars(parser.parse_args()))
    print(
        f"{found['size']}, rows of {found['tokens']} tokens: a segment takes {found['fixed_ms']:.3f} ms and "
        f"{found['row_ms']:.3f} ms a row; {found['fixed_share_of_one_row']:.0%} of one row's time is fixed"
    )
    print(
        f"a batch of 32 works {found['batch_of_32_gains']:.2f} times as fast as 32 single rows; joining a lone row "
        f"half-way saves at most {found['joining_saves']:.1%} of its time"
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()

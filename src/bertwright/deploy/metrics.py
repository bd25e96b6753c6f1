"""Counts, gauges and histograms in Prometheus' text format (version 0.0.4), and their sum over worker processes.

Every metric is declared in one table; a name that is not in it is a fault of the program. Labels of a series come from
a bounded set (packs, layers, known paths), never from a request's content.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_POWERS = tuple(float(1 << power) for power in range(9))


@dataclass(frozen=True)
class Declared:
    """A metric: kind, sentence, labels, a histogram's bounds. The sum of a flag over workers is the maximum."""

    kind: Literal["counter", "gauge", "flag", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: Mapping[str, Declared] = {
    "requests_total": Declared("counter", "Requests answered, by path and status.", ("path", "code")),
    "request_seconds": Declared("histogram", "From a request's head to its answer.", ("path",), _SECONDS),
    "rows_total": Declared("counter", "Rows answered, by pack.", ("pack",)),
    "truncated_rows_total": Declared("counter", "Rows that were cut to their pack's length.", ("pack",)),
    "exits_total": Declared("counter", "Rows that left after a layer.", ("pack", "layer")),
    "refused_total": Declared("counter", "Requests that the queue refused or that took too long.", ("why",)),
    "queue_rows": Declared("gauge", "Rows that wait."),
    "queue_tokens": Declared("gauge", "Tokens of the rows that wait."),
    "running_rows": Declared("gauge", "Rows in the batches that are worked at."),
    "running_batches": Declared("gauge", "Batches that are worked at, one at a time between segments."),
    "wait_seconds": Declared("histogram", "A row's time in the queue.", (), _SECONDS),
    "batch_rows": Declared("histogram", "Rows of a batch as it begins.", (), _POWERS),
    "batch_cells": Declared(
        "histogram", "Rows x longest row of a batch as it begins.", (), tuple(16 * size for size in _POWERS)
    ),
    "batch_failures_total": Declared("counter", "Batches that the engine could not work at."),
    "overtaken_total": Declared("counter", "Batches that began while an older one was between two segments."),
    "packs": Declared("flag", "Packs that are served."),
    "pack_faults": Declared("flag", "Files of the packs folder that are not served; /v1/packs says why."),
    "pack_changes_total": Declared("counter", "Packs taken up, replaced and removed.", ("change",)),
    "exit_drift": Declared("flag", "1: rows leave elsewhere than the pack's calibration rows did.", ("pack",)),
    "exit_moved": Declared("flag", "Share of rows that leave elsewhere than in the calibration.", ("pack",)),
    "workers": Declared("gauge", "Worker processes behind this port."),
}

Labels = tuple[str, ...]
# A series' value: one number, or a histogram's counts by bucket with the sum last.
Snapshot = dict[str, dict[Labels, list[float]]]


class Metrics:
    """The metrics of one process; any thread may write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: Snapshot = {name: {} for name in METRICS}

    def count(self, name: str, labels: Labels = (), by: float = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._cell(name, labels, 1)[0] += by

    def put(self, name: str, value: float, labels: Labels = ()) -> None:
        """Put a gauge or a flag."""
        with self._lock:
            self._cell(name, labels, 1)[0] = value

    def observe(self, name: str, value: float, labels: Labels = ()) -> None:
        """Add a value to a histogram."""
        bounds = METRICS[name].bounds
        with self._lock:
            cell = self._cell(name, labels, len(bounds) + 2)
            cell[bisect_left(bounds, value)] += 1
            cell[-1] += value

    def forget(self, name: str) -> None:
        """Drop every series of a metric: what is put next is all there is."""
        with self._lock:
            self._series[name] = {}

    def snapshot(self) -> Snapshot:
        """Return a copy of every series."""
        with self._lock:
            return {name: {key: list(cell) for key, cell in cells.items()} for name, cells in self._series.items()}

    def _cell(self, name: str, labels: Labels, size: int) -> list[float]:
        if len(labels) != len(METRICS[name].labels):
            raise ValueError(f"{name} has the labels {METRICS[name].labels}, not {labels}")
        return self._series[name].setdefault(labels, [0.0] * size)


def summed(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return the sum of several processes' series; of a flag the maximum."""
    found: Snapshot = {name: {} for name in METRICS}
    for snapshot in snapshots:
        for name, cells in snapshot.items():
            both = max if METRICS[name].kind == "flag" else float.__add__
            for labels, cell in cells.items():
                before = found[name].get(labels, [0.0] * len(cell))
                found[name][labels] = [both(float(a), float(b)) for a, b in zip(before, cell, strict=True)]
    return found


def text(snapshot: Snapshot) -> str:
    """Return the page that Prometheus reads."""
    lines: list[str] = []
    for name, declared in METRICS.items():
        full, kind = f"bertwright_{name}", "gauge" if declared.kind == "flag" else declared.kind
        lines += [f"# HELP {full} {declared.text}", f"# TYPE {full} {kind}"]
        for labels, cell in sorted(snapshot[name].items()):
            named = list(zip(declared.labels, labels, strict=True))
            if kind == "histogram":
                lines += _histogram(full, named, declared.bounds, cell)
            else:
                lines.append(f"{full}{_braces(named)} {_number(cell[0])}")
    return "\n".join(lines) + "\n"


def _histogram(
    name: str, labels: Sequence[tuple[str, str]], bounds: Sequence[float], cell: Sequence[float]
) -> list[str]:
    lines, sofar = [], 0.0
    for bound, count in zip([*map(_number, bounds), "+Inf"], cell, strict=False):
        sofar += count
        lines.append(f"{name}_bucket{_braces([*labels, ('le', bound)])} {_number(sofar)}")
    return [
        *lines,
        f"{name}_sum{_braces(labels)} {_number(cell[-1])}",
        f"{name}_count{_braces(labels)} {_number(sofar)}",
    ]


def _braces(labels: Sequence[tuple[str, str]]) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))

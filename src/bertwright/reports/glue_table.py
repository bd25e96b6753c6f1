"""GLUE's averages over a run's tasks, each with what it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertwright.reports.records import RunRecords, protocol_of
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT
from bertwright.tasks.glue import TASKS, Average, averages

_PARTS = {"dev": "", "dev_matched": "matched", "dev_mismatched": "mismatched"}
_FEWEST = 2  # columns that are worth a table


@dataclass(frozen=True)
class _Scored:
    """A variant's mean scores on a part of a known task, in points by metric, and how they came about."""

    means: Mapping[str, float]
    seeds: int
    settings_tried: int
    protocol: str


_Parts = dict[tuple[str, str], _Scored]


def glue_table(run: RunRecords) -> Table:
    """Return a line for each variant and way to average; empty with fewer than two of GLUE's columns."""
    columns = ("average", "variant", "mean", "of", "missing", "seeds", "settings tried", "protocol")
    cells = tuple(
        _cells(variant, average, parts)
        for variant, parts in _variants(run).items()
        for average in averages({key: one.means for key, one in parts.items()})
        if len(average.columns) >= _FEWEST
    )
    caption = (
        "On dev; means over seeds. glue: nine columns of one metric each, as the papers count; glue_official: nine "
        "tasks, two-metric tasks and MNLI's halves averaged, as the leaderboard counts."
    )
    return Table("GLUE", columns, cells, caption if cells else "", frozenset({"mean", "seeds", "settings tried"}))


def _variants(run: RunRecords) -> dict[str, _Parts]:
    """Return each variant's scores on dev by known task and part."""
    found: dict[str, _Parts] = {}
    for record in run.of_kind("evaluate"):
        results = record["results"]
        for variant in results["variants"] if results.get("known") in TASKS else ():
            for name, metrics in variant["scores"].items():
                # A set of another task is no score of this one; of two tasks that are the same one the first counts.
                if name in _PARTS and "known" not in (results["sets"][name] or {}):
                    protocol = protocol_of(run, results["task"], variant)
                    scored = _Scored(_means(metrics), len(variant["seeds"]), variant["settings_tried"], protocol)
                    found.setdefault(variant["variant"], {}).setdefault((results["known"], _PARTS[name]), scored)
    return found


def _means(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: 100 * told["mean"] for name, told in metrics.items() if told["mean"] is not None}


def _cells(variant: str, average: Average, parts: _Parts) -> tuple[str, ...]:
    mean = ABSENT if average.value is None else f"{average.value:.1f}"
    each = ", ".join(f"{name} {value:.1f}" for name, value in average.columns.items())
    # WNLI is in the leaderboard's average alone.
    made_of = {task: one for (task, _), one in parts.items() if task != "wnli" or "WNLI" in average.columns}
    seeds = _range([one.seeds for one in made_of.values()])
    tried = _range([one.settings_tried for one in made_of.values()])
    return average.name, variant, mean, each, ", ".join(average.missing), seeds, tried, _protocols(made_of)


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"


def _protocols(made_of: Mapping[str, _Scored]) -> str:
    """Return how the scores came about; where tasks differ in that, each way with its tasks."""
    tasks: dict[str, list[str]] = {}
    for task, one in made_of.items():
        tasks.setdefault(one.protocol, []).append(task)
    if len(tasks) == 1:
        return next(iter(tasks))
    return "; ".join(f"{', '.join(of)}: {protocol}" for protocol, of in tasks.items())

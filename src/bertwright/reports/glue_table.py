"""GLUE's averages over a run's tasks, each with what it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, plural
from bertwright.tasks.glue import TASKS, Average, averages

_PARTS = {"dev": "", "dev_matched": "matched", "dev_mismatched": "mismatched"}
_FEWEST = 2  # columns that are worth a table


def glue_table(run: RunRecords) -> Table:
    """Return a line for each variant and way to average; empty with fewer than two of GLUE's columns."""
    columns = ("average", "variant", "mean", "of", "missing")
    found = _variants(run)
    cells = tuple(
        _cells(variant, average)
        for variant, scores in found.items()
        for average in averages(scores)
        if len(average.columns) >= _FEWEST
    )
    records = [record["results"] for record in run.of_kind("evaluate") if record["results"].get("known") in TASKS]
    caption = _caption(records) if records else ""
    return Table("GLUE", columns, cells, caption, frozenset({"mean"}))


def _caption(records: Sequence[Mapping[str, Any]]) -> str:
    counts = sorted({len(record["variants"][0]["seeds"]) for record in records})
    seeds = plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    return (
        f"On dev; means over {seeds}. glue: nine columns of one metric each, as the papers count; glue_official: "
        "nine tasks, two-metric tasks and MNLI's halves averaged, as the leaderboard counts. "
        f"{'; '.join(sorted({row['protocol'] for record in records for row in record['variants'][:1]}))}."
    )


def _variants(run: RunRecords) -> dict[str, dict[tuple[str, str], Mapping[str, float]]]:
    """Return each variant's mean scores on dev, in points, by known task and part."""
    found: dict[str, dict[tuple[str, str], Mapping[str, float]]] = {}
    for record in run.of_kind("evaluate"):
        results = record["results"]
        for variant in results["variants"] if results.get("known") in TASKS else ():
            for name, metrics in variant["scores"].items():
                # A set of another task is no score of this one; of two tasks that are the same one the first counts.
                if name in _PARTS and "known" not in (results["sets"][name] or {}):
                    key = (results["known"], _PARTS[name])
                    found.setdefault(variant["variant"], {}).setdefault(key, _means(metrics))
    return found


def _means(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: 100 * told["mean"] for name, told in metrics.items() if told["mean"] is not None}


def _cells(variant: str, average: Average) -> tuple[str, ...]:
    mean = ABSENT if average.value is None else f"{average.value:.1f}"
    each = ", ".join(f"{name} {value:.1f}" for name, value in average.columns.items())
    return average.name, variant, mean, each, ", ".join(average.missing)

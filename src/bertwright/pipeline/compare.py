"""Two finished runs against each other: their reports, and the answers to single rows that their stores hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bertwright import files
from bertwright.errors import InputError
from bertwright.pipeline.results import run_folder
from bertwright.recipe import yaml_text
from bertwright.recipe.reading import load_recipe
from bertwright.reports.comparison import Comparison, ScorePair, answer, numbers, tables
from bertwright.reports.provenance import data_files
from bertwright.reports.records import RunRecords, ScoreRow, score_rows
from bertwright.reports.rendering import render
from bertwright.tasks.metrics import METRICS
from bertwright.tasks.statistics import compare

_NUMBERS = "report.json"
# What plain values raise that are not those of a report.
_NO_REPORT = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, StopIteration)


@dataclass(frozen=True)
class _Opened:
    """A finished run: its records, and its store's stages; ``None`` where the report came alone."""

    records: RunRecords
    stages: Path | None


@dataclass(frozen=True)
class _Answers:
    """What one variant answered on a set: ids, gold labels, and each seed's answers in the form of the gold labels."""

    ids: list[str]
    gold: np.ndarray
    seeds: list[np.ndarray]


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare two finished runs, each named by its recipe, its folder in the store, or its ``report.json``.

    ``InputError`` where one has no report.
    """
    a, b = _open(first), _open(second)
    pairs = tuple(_pair(a, b, one, other) for one, other in _alike(score_rows(a.records), score_rows(b.records)))
    return Comparison(a.records, b.records, pairs)


def write_comparison(found: Comparison, page: Path) -> Path:
    """Write the comparison as a page and, beside it, as JSON; return the page."""
    files.write_json(page.with_suffix(".json"), numbers(found))
    files.write_text(page, _page(found))
    return page


def _page(found: Comparison) -> str:
    runs = list(zip(found.names, (found.a, found.b), strict=True))
    shown = {"names": found.names, "answer": answer(found), "tables": tables(found), "runs": runs}
    return render("comparison.html.jinja", **shown)


def _open(path: Path) -> _Opened:
    if not path.exists():
        raise InputError(f"--compare: {path} is not there; name a recipe, a run's folder or its report.json")
    folder = run_folder(load_recipe(path)) if path.suffix in (".yaml", ".yml") else path
    found = folder / _NUMBERS if folder.is_dir() or not folder.exists() else folder
    if not found.exists():
        raise InputError(f"--compare: {path}: there is no {found}; `bertwright report RECIPE` writes it")
    stages = found.resolve().parent / ".." / ".." / "stages"  # of STORE/runs/RECIPE/report.json
    return _Opened(_records(found), stages if stages.is_dir() else None)


def _records(path: Path) -> RunRecords:
    """Return what a report was made from."""
    try:
        told = files.read_json(path)
        for key in ("name", "recipe", "command", "created"):
            if not isinstance(told[key], str):
                raise TypeError(f"its {key} is no text")
        if not isinstance(yaml_text.value(told["recipe"]), dict):
            raise TypeError("its recipe has no sections")
        found = RunRecords(
            name=told["name"],
            recipe_yaml=told["recipe"],
            stages=tuple(told["records"]),
            metrics=told["metrics"],
            forecast=told["forecast"],
            command=told["command"],
            created=told["created"],
        )
        _try_out(found)
    except (*_NO_REPORT, yaml_text.Refused) as error:
        raise InputError(
            f"--compare: {path} is not a report's numbers ({type(error).__name__}: {error}); name the report.json that "
            "`bertwright report` wrote"
        ) from error
    return found


def _try_out(records: RunRecords) -> None:
    """Set a report against itself: what it lacks, or holds of another kind, is met here, where its name is known."""
    alone = _Opened(records, None)
    pairs = tuple(_pair(alone, alone, row, row) for row in score_rows(records))
    found = Comparison(records, records, pairs)
    _page(found)
    json.dumps(numbers(found), allow_nan=False)


def _alike(first: list[ScoreRow], second: list[ScoreRow]) -> Iterator[tuple[ScoreRow, ScoreRow]]:
    """Give scores of the same task and set, by the set's first metric: of variants with one name, else of each run's
    first variant."""
    groups: dict[tuple[str, str], tuple[dict[str, ScoreRow], dict[str, ScoreRow]]] = {}
    for side, rows in enumerate((first, second)):
        for row in rows:
            groups.setdefault((row.task, row.set), ({}, {}))[side].setdefault(row.variant, row)
    for a, b in groups.values():
        pairs = [(a[name], b[name]) for name in a if name in b]
        if a and b and not pairs:
            pairs = [(next(iter(a.values())), next(iter(b.values())))]
        yield from ((one, other) for one, other in pairs if one.metric == other.metric)


def _pair(a: _Opened, b: _Opened, one: ScoreRow, other: ScoreRow) -> ScorePair:
    """Set two scores against each other, row by row where that can be done."""
    if one.mean is None or other.mean is None:
        return ScorePair(one, other, None, None, False, "a score is undefined")
    difference = one.mean - other.mean
    why = _unlike(a, b, one)
    first = second = None
    if why is None:
        first, second = _answers(a, one), _answers(b, other)
        if first is None or second is None:
            why = "the store does not hold the answers to its rows"
        elif first.ids != second.ids or not np.array_equal(first.gold, second.gold):
            why = "the rows or their labels are not the same"
    if why is not None or first is None or second is None:
        return ScorePair(one, other, difference, None, False, why)
    task = _evaluation(a, one)
    same = one.seeds == other.seeds
    found = compare(first.gold, first.seeds, second.seeds, metric=one.metric, positive=_positive(task), same_seeds=same)
    if found is None:
        return ScorePair(one, other, difference, None, False, "a score is undefined")
    low, high = found.interval
    if low is None or high is None:
        why = f"a score is undefined in {100 * found.undefined:.1f} % of the bootstrap's samples"
        return ScorePair(one, other, difference, None, False, why, found.undefined)
    return ScorePair(one, other, difference, (low, high), found.clear, None, found.undefined)


def _unlike(a: _Opened, b: _Opened, row: ScoreRow) -> str | None:
    """Say why rows cannot be set against each other; ``None`` where they can."""
    key = (row.task, f"set {row.set}")
    read = [data_files(one.records).get(key) for one in (a, b)]
    if None in read or read[0] != read[1]:
        return "the set's files are not the same"
    if METRICS[row.metric].of_documents:
        return "it is of documents, and the store holds answers to rows"
    told = [_evaluation(one, row)["results"] for one in (a, b)]
    if told[0]["labels"] != told[1]["labels"]:
        return "the labels are not the same"
    if told[0]["sets"].get(row.set, {}).get("known") and row.metric == "f1":
        return "the set's labels are another task's"
    return None


def _evaluation(run: _Opened, row: ScoreRow) -> Mapping[str, Any]:
    return next(record for record in run.records.of_kind("evaluate") if record["results"]["task"] == row.task)


def _positive(record: Mapping[str, Any]) -> int | None:
    """Return the number of the label that F1 counts."""
    label, labels = record["parts"]["options"]["task"].get("positive"), record["results"]["labels"]
    return labels.index(label) if label in labels else None


def _answers(run: _Opened, row: ScoreRow) -> _Answers | None:
    if run.stages is None:
        return None
    folder = run.stages / f"evaluate-{_evaluation(run, row)['identity']}" / "predictions" / row.variant
    paths = [folder / f"seed-{seed}" / f"{row.set}.parquet" for seed in row.seeds]
    # Identity, variant and set are another's words: none of them leads out of the store.
    inside = all(Path(os.path.normpath(path)).is_relative_to(os.path.normpath(run.stages)) for path in paths)
    if not paths or not inside or not all(path.exists() for path in paths):
        return None
    read = [pq.read_table(path, columns=["id", "gold", "predicted"]).to_pydict() for path in paths]
    return _Answers(
        [str(one) for one in read[0]["id"]],
        np.array(read[0]["gold"]),
        [np.array(one["predicted"]) for one in read],
    )

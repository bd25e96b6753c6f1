"""What leaving early saves and costs: promises, each layer's score, where rows leave, in and out of distribution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, count_text, interval_text, metric_text, score_text
from bertwright.tasks.statistics import summarise

Records = Mapping[str, Sequence[Mapping[str, Any]]]


def exits_tables(run: RunRecords, task: str) -> list[Table]:
    """Return all of a task's; those that have nothing to tell are empty."""
    found = ramps_by_label(run, task)
    return [_chosen(task, found), _layers(task, found), _shares(task, found), _clock(task, found)]


def ramps_by_label(run: RunRecords, task: str) -> Records:
    """Return the records of a task's ramps, those of all seeds by the name of their runs."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in run.of_kind("ramps"):
        if record["results"]["task"] == task:
            found.setdefault(record["results"]["label"], []).append(record["results"])
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; ``None`` where one of them is undefined."""
    return None if any(one is None for one in values) else float(np.mean([one for one in values if one is not None]))


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.1f} %"


def _chosen(task: str, found: Records) -> Table:
    """Return, for each set and each drop that was asked for, what the chosen policy saves and loses there."""
    columns = ("variant", "set", "may lose", "policy", "promise", "whole", "early", "difference", "expected saving")
    rows = []
    for label, seeds in found.items():
        for place, promise in enumerate(seeds[0]["promises"]):
            policies = list(dict.fromkeys(one["promises"][place]["policy"] for one in seeds))
            bases = list(dict.fromkeys(one["promises"][place]["basis"] for one in seeds))
            for name, own in seeds[0]["sets"].items():
                metric = own["metric"]
                whole = mean([one["sets"][name]["scores"][-1] for one in seeds])
                early = mean([one["sets"][name]["chosen"][place]["score"] for one in seeds])
                saving = mean([one["sets"][name]["chosen"][place]["saving"] for one in seeds])
                lost = _lost([one["sets"][name] for one in seeds], place)
                scores = (score_text(whole, metric), score_text(early, metric), lost)
                about = (label, f"{name} ({metric_text(metric)})", f"{100 * promise['max_drop']:g} %")
                rows.append((*about, ", ".join(policies), ", ".join(bases), *scores, _percent(saving)))
    caption = (
        "Means over seeds, each with its own threshold. Certified: tested on rows that took part in nothing else, with "
        "the chance of error that the recipe allows; uncertified: too few rows, or nothing passed; by-score: chosen as "
        "papers do, with no promise. Saving is 1 - (layers run) / (layers of the whole model), over all rows (Xin et "
        "al. 2020); ramps, embeddings and head are not in it. Differences have their 95 % interval: over the rows, the "
        "same for both, where there is one seed, else over seeds by Student's t."
    )
    return Table(f"Early exits: {task}", columns, tuple(rows), caption, frozenset(columns[5:]))


def _lost(seeds: Sequence[Mapping[str, Any]], place: int) -> str:
    """Return what a chosen policy's score is above the whole model's on a set, with its interval."""
    metric, chosen = str(seeds[0]["metric"]), [one["chosen"][place] for one in seeds]
    each = [(found["score"], one["scores"][-1]) for found, one in zip(chosen, seeds, strict=True)]
    if any(None in pair for pair in each):
        return ABSENT
    found = summarise([early - whole for early, whole in each])
    # Runs that were sealed before it was computed have no interval of their own.
    interval = chosen[0].get("interval") if len(seeds) == 1 else found.interval
    said = "" if interval is None else f" {interval_text(interval, metric, signed=True)}"
    return f"{score_text(found.mean, metric, signed=True)}{said}"


def _layers(task: str, found: Records) -> Table:
    """Return the score of every exit alone, sets below each other."""
    layers = sorted({layer for seeds in found.values() for layer in seeds[0]["layers"]})
    columns = ("variant", "set", *(f"layer {layer}" for layer in layers))
    rows = []
    for label, seeds in found.items():
        own = seeds[0]["layers"]
        for name, one in seeds[0]["sets"].items():
            scores = {
                layer: score_text(mean([seed["sets"][name]["scores"][place] for seed in seeds]), one["metric"])
                for place, layer in enumerate(own)
            }
            cells = (scores.get(layer, ABSENT) for layer in layers)
            rows.append((label, f"{name} ({metric_text(one['metric'])})", *cells))
    caption = (
        "As if all rows left there; the last is the tuned classifier. Where a set out of distribution falls faster "
        "towards the lower layers than the others do, leaving early brings a shortcut back."
    )
    return Table(f"Score of each layer: {task}", columns, tuple(rows), caption, frozenset(columns[2:]))


def _shares(task: str, found: Records) -> Table:
    """Return where rows leave by the first chosen policy, and how sure each exit is on average."""
    layers = sorted({layer for seeds in found.values() for layer in seeds[0]["layers"]})
    columns = ("variant", "set", "rows", *(f"layer {layer}" for layer in layers))
    rows = []
    for label, seeds in found.items():
        for name, one in seeds[0]["sets"].items():
            counts = np.mean([seed["sets"][name]["chosen"][0]["counts"] for seed in seeds], axis=0)
            told = {layer: _percent(counts[place] / counts.sum()) for place, layer in enumerate(seeds[0]["layers"])}
            drifted = any(seed["sets"][name]["chosen"][0]["drifted"] for seed in seeds)
            cells = (told.get(layer, ABSENT) for layer in layers)
            rows.append((label, f"{name}, unlike calibration" if drifted else name, count_text(one["rows"]), *cells))
    caption = (
        "Share of rows that leave at each layer by the policy that was kept. Unlike calibration: the shares differ "
        "from those of the calibration rows by more than chance, so what was promised of their loss may not hold there."
    )
    return Table(f"Where rows leave: {task}", columns, tuple(rows), caption, frozenset(columns[2:]))


def _clock(task: str, found: Records) -> Table:
    """Return expected against measured savings of the first seed, by policy and rows at once."""
    columns = ("variant", "policy", "rows at once", "expected saving", "measured saving", "ms a row", "whole model")
    rows = tuple(_timed(found))
    caption = (
        "Measured on this machine, the whole model and policies in turn, medians; the whole model looks at no ramp. "
        "The first seed's run."
    )
    return Table(f"Expected and measured savings: {task}", columns, rows, caption, frozenset(columns[2:]))


def _timed(found: Records) -> Iterator[tuple[str, ...]]:
    for label, seeds in found.items():
        for one in seeds[0]["measured"]:
            each = (1e3 * one[key] / one["rows"] for key in ("seconds", "seconds_full"))
            savings = (_percent(one["expected"]), _percent(one["measured"]))
            yield (label, one["policy"], str(one["batch"]), *savings, *(f"{value:.2f}" for value in each))

"""What losses against a shortcut did: experts, scores in and out of distribution, examples; shortcuts in the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bertwright.reports.marked_text import marked
from bertwright.reports.methods_tables import runs_by_label
from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, count_text, interval_text, metric_text, score_text, spread_text
from bertwright.stages.work import LEARNT_FROM

_LONGEST = 600  # letters of an example's text
_PARTS = ("rho", "weight", "empty")


def debias_tables(run: RunRecords, task: str) -> list[Table]:
    """Return all of a task's; those that have nothing to tell are empty."""
    learnt = {label: runs for label, runs in runs_by_label(run, task).items() if "against" in runs[0]}
    found = [_in_and_out(run, task), _experts(run, task), _means(task, learnt)]
    for key, title, caption in (
        ("down_weighted", "Examples that count least", "The expert is right about them, and surest."),
        (
            "rescued",
            "Examples that were rescued",
            "The expert is wrong about them, and surest, and the model is right.",
        ),
    ):
        found.append(_examples(f"{title}: {task}", learnt, key, caption))
    return [*found, *_shortcuts(run, task)]


def _evaluations(run: RunRecords, task: str) -> Iterator[Mapping[str, Any]]:
    for record in run.of_kind("evaluate"):
        if record["results"]["task"] == task and "experts" in record["results"]:
            yield record["results"]


def _in_and_out(run: RunRecords, task: str) -> Table:
    """Return each variant's score on the headline's set, and on every other one, side by side."""
    for results in _evaluations(run, task):
        headline = results["headline"]["set"]
        sets = [headline, *(name for name in results["sets"] if name not in (headline, LEARNT_FROM))]
        metrics = {name: next(iter(results["variants"][0]["scores"][name])) for name in sets}
        columns = ("variant", *(f"{name} ({metric_text(metrics[name])})" for name in sets))
        rows = []
        for variant in results["variants"]:
            scores = [variant["scores"][name][metrics[name]] for name in sets]
            cells = (spread_text(s["mean"], s["deviation"], metrics[n]) for n, s in zip(sets, scores, strict=True))
            rows.append((variant["variant"], *cells))
        for one in results["experts"]:
            if one["sets"]:
                own = (score_text(one["sets"][name]["score"], one["sets"][name]["metric"]) for name in sets)
                rows.append((f"expert {one['expert']}", *own))
        caption = (
            f"{headline} is where the training rows come from; the other sets may not be, and nothing was chosen on "
            "them. Means and deviations over seeds; an expert is the model of its first fold."
        )
        return Table(f"In and out of distribution: {task}", columns, tuple(rows), caption, frozenset(columns[1:]))
    return Table(f"In and out of distribution: {task}", (), ())


def _experts(run: RunRecords, task: str) -> Table:
    """Return what each expert knows of the training rows, each scored by a model that did not see it."""
    columns = (
        "expert",
        "kind",
        "reads",
        "folds",
        "right",
        "95 % interval",
        "largest class",
        "confidence",
        "sure, wrong",
    )
    rows = []
    for results in _evaluations(run, task):
        for one in results["experts"]:
            seen = one["train"]
            shares = (seen["majority"], seen["confidence"], seen["sure_and_wrong"])
            rows.append(
                (
                    one["expert"],
                    one["kind"],
                    ", ".join(one["columns"] or ()) or ABSENT,
                    str(one["folds"] or ABSENT),
                    f"{100 * seen['accuracy']:.1f}",
                    interval_text(seen["interval"], "accuracy"),
                    *(f"{100 * share:.1f}" for share in shares),
                )
            )
    caption = (
        "On the training rows, in percent; with several folds each row is scored by a model that did not see it. Sure "
        "is a probability above 0.99."
    )
    return Table(f"Experts: {task}", columns, tuple(rows), caption, frozenset(columns[4:]))


def _means(task: str, learnt: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Return means over examples of what the losses are made of."""
    names = sorted({name for runs in learnt.values() for name in runs[0]["against"]["losses"]} - {"loss"})
    columns = ("variant", "similarity", "weight", "without saliency", "loss", *(f"of it {name}" for name in names))
    rows = []
    for label, runs in learnt.items():
        told = [one["against"] for one in runs]
        parts = [_mean([one.get(name) for one in told]) for name in _PARTS]
        losses = [_mean([one["losses"].get(name) for one in told]) for name in ("loss", *names)]
        rows.append((label, *(ABSENT if value is None else f"{value:.3f}" for value in (*parts, *losses))))
    count = max((one["against"]["rows"] for runs in learnt.values() for one in runs), default=0)
    caption = (
        f"Means over {count_text(count)} training rows and all seeds, after training and without dropout. "
        "Similarity is that of the two models' attributions; weight is the product of experts' (guided), or the row's."
    )
    return Table(f"Losses against a shortcut: {task}", columns, tuple(rows), caption, frozenset(columns[1:]))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _examples(title: str, learnt: Mapping[str, Sequence[Mapping[str, Any]]], key: str, caption: str) -> Table:
    columns = ("variant", "text", "gold", "model", "expert", "similarity", "weight")
    rows = []
    for label, runs in learnt.items():
        for one in runs[0]["against"][key][:3]:
            text = marked(one["text"], one.get("words", ()), _LONGEST)
            rows.append(
                (
                    label,
                    text,
                    one["gold"],
                    f"{one['answer']} ({one['p_main']:.2f})",
                    f"{one['expert_answer']} ({one['p_expert']:.2f})",
                    *(f"{one[name]:.2f}" if name in one else ABSENT for name in ("rho", "weight")),
                )
            )
    caption += (
        " In brackets: the probability of the gold label. The stronger the colour behind a word, the more of the "
        "model's answer hangs on it; the thicker the line below, the more of the expert's (shares of a row's largest). "
        "More examples are in each run's examples.parquet."
    )
    return Table(title, columns, tuple(rows), caption, frozenset(columns[5:]))


def _shortcuts(run: RunRecords, task: str) -> Iterator[Table]:
    for record in run.of_kind("shortcuts"):
        results = record["results"]
        if results["task"] == task:
            yield shortcut_table(results)


def shortcut_table(results: Mapping[str, Any]) -> Table:
    """Return the features that give labels away, the strongest first."""
    columns = ("column", "feature", "label", "rows", "with the label", "95 % interval", "of all")
    rows = tuple(
        (
            one["feature"]["column"],
            f"{one['feature']['kind']} {one['feature']['text']}",
            one["label"],
            count_text(one["rows"]),
            f"{100 * one['share']:.1f}",
            interval_text(one["interval"], "accuracy"),
            f"{100 * one['base']:.1f}",
        )
        for one in results["shortcuts"]
    )
    caption = f"{results['advice']} {count_text(results['found'])} found in {count_text(results['tests'])} tests."
    return Table(f"Shortcuts in the training rows: {results['task']}", columns, rows, caption, frozenset(columns[3:]))

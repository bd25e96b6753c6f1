"""Every model and exit policy of a run: how good it is, how robust, and what it costs to answer, to train, to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertwright.reports.exits_tables import mean, ramps_by_label
from bertwright.reports.methods_tables import runs_by_label
from bertwright.reports.records import RunRecords, ScoreRow, robustness, score_rows
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, bytes_text, count_text, metric_text, score_text, spread_text
from bertwright.stages.work import MODEL, PACK, RAMPS

_WEIGHTS = f"{MODEL}/model.safetensors"


@dataclass(frozen=True)
class Model:
    """One variant of a task, whole or leaving early by one policy; all figures are means over its seeds.

    ``quality`` is the headline's score, with its deviation and 95 % interval where the model is whole; ``robustness``
    holds metric and score of each set that is out of distribution. ``layers`` is the share of layers run over the
    headline's rows, of those that the task's deepest model has (1 for that one whole), ``milliseconds`` the measured
    time of a row by the number of rows at once. A policy's trained parameters and file are with its ramps. What is not
    known is ``None``, or not there.
    """

    task: str
    variant: str
    policy: str | None
    set: str
    metric: str
    quality: float | None
    deviation: float | None
    interval: tuple[float, float] | None
    robustness: Mapping[str, tuple[str, float | None]]
    layers: float
    milliseconds: Mapping[int, float]
    trained_parameters: int | None
    file: tuple[int, str] | None


def models(run: RunRecords) -> list[Model]:
    """Return all models of all tasks that have scores, each variant followed by its exit policies."""
    headlines = [row for row in score_rows(run) if row.headline]
    return [one for row in headlines for one in _of_variant(run, row)]


def _of_variant(run: RunRecords, row: ScoreRow) -> Iterator[Model]:
    runs = runs_by_label(run, row.task).get(row.variant, [])
    ramps = ramps_by_label(run, row.task).get(row.variant, [])
    depths = _depths(run, row.task)
    whole = Model(
        task=row.task,
        variant=row.variant,
        policy=None,
        set=row.set,
        metric=row.metric,
        quality=row.mean,
        deviation=row.deviation,
        interval=row.interval,
        robustness=robustness(run, row),
        layers=depths[row.variant] / max(depths.values()) if row.variant in depths else 1.0,
        milliseconds=_clock(ramps, None),
        trained_parameters=runs[0]["trained_parameters"] if runs else None,
        file=_file(run, "finetune", row),
    )
    yield whole
    for place, promise in enumerate(ramps[0]["promises"] if ramps else ()):
        yield _leaving(whole, ramps, place, promise, _file(run, "ramps", row))


def _leaving(
    whole: Model,
    ramps: Sequence[Mapping[str, Any]],
    place: int,
    promise: Mapping[str, Any],
    file: tuple[int, str] | None,
) -> Model:
    """Return the same model as it leaves early by one of its policies, each seed by its own threshold."""
    chosen = {
        name: [one["sets"][name]["chosen"][place] for one in ramps]
        for name in ramps[0]["sets"]
        if all(name in one["sets"] for one in ramps)
    }
    scores = {name: mean([one["score"] for one in told]) for name, told in chosen.items()}
    saving = mean([one["saving"] for one in chosen.get(whole.set, ())]) if whole.set in chosen else None
    trained = whole.trained_parameters
    return Model(
        task=whole.task,
        variant=whole.variant,
        policy=f"may lose {100 * promise['max_drop']:g} %",
        set=whole.set,
        metric=whole.metric,
        quality=scores.get(whole.set),
        deviation=None,
        interval=None,
        robustness={name: (metric, scores[name]) for name, (metric, _) in whole.robustness.items() if name in scores},
        layers=whole.layers * (1.0 - (saving or 0.0)),
        milliseconds=_clock(ramps[:1], promise["policy"]),
        trained_parameters=None if trained is None else trained + int(ramps[0]["parameters"]),
        file=file,
    )


def _depths(run: RunRecords, task: str) -> dict[str, int]:
    """Return the layers of a task's models by variant: some are cut, to be held against exits. Nothing where a run was
    sealed before they were recorded, since the deepest may then be that one."""
    found = {label: runs[0].get("layers") for label, runs in runs_by_label(run, task).items()}
    return {} if None in found.values() else {label: int(layers) for label, layers in found.items() if layers}


def _clock(ramps: Sequence[Mapping[str, Any]], policy: str | None) -> dict[int, float]:
    """Return milliseconds a row by rows at once, of a policy or the whole model, by the first seed."""
    found: dict[int, float] = {}
    for one in ramps[0]["measured"] if ramps else ():
        if policy in (None, one["policy"]):
            seconds = one["seconds_full"] if policy is None else one["seconds"]
            found.setdefault(one["batch"], 1e3 * seconds / one["rows"])
    return found


def _file(run: RunRecords, kind: str, row: ScoreRow) -> tuple[int, str] | None:
    """Return the bytes that a task needs for itself, by its first seed's stage of a kind: its pack's, else its model's
    with its ramps; and which of the two."""
    start = f"{kind}/{row.task}/{row.variant}/seed-"
    for record in run.of_kind(kind):
        sizes = {name: int(about["bytes"]) for name, about in record.get("files", {}).items()}
        if record["name"].startswith(start) and PACK in sizes:
            return sizes[PACK], "pack"
        if record["name"].startswith(start) and _WEIGHTS in sizes:
            return sizes[_WEIGHTS] + sizes.get(f"{MODEL}/{RAMPS}", 0), "model"
    return None


def trade_off_table(run: RunRecords) -> Table:
    """Return a line for each model and policy; empty where no task has scores."""
    columns = (
        *("task", "score", "variant", "exits", "in distribution", "out of distribution", "layers run"),
        *("ms a row", "ms a row of 32", "trained parameters", "file"),
    )
    found = models(run)
    cells = tuple(
        (
            one.task,
            f"{metric_text(one.metric)}, {one.set}",
            one.variant,
            one.policy or "never",
            spread_text(one.quality, one.deviation, one.metric),
            _robust_text(one),
            f"{100 * one.layers:.0f} %",
            *(f"{one.milliseconds[size]:.2f}" if size in one.milliseconds else ABSENT for size in (1, 32)),
            count_text(one.trained_parameters),
            ABSENT if one.file is None else f"{bytes_text(one.file[0])} {one.file[1]}",
        )
        for one in found
    )
    kept = [name for place, name in enumerate(columns) if any(row[place] not in (ABSENT, "never") for row in cells)]
    caption = (
        "Means over seeds. Out of distribution are all sets but train, dev and test. Layers run: over the rows of the "
        "headline's set; a policy that may lose so much was chosen for that. Milliseconds are of the first seed's "
        "run on this machine, and are measured where a variant has exits. The file is what a task needs for itself: "
        "its pack beside the encoder that all share, or its own model."
    )
    # Several sets out of distribution are a list, and a list is broken into lines as text is.
    numeric = frozenset(columns[4:]) - {"out of distribution"}
    return Table("Every model and exit policy", columns, cells, caption, numeric).only(kept)


def _robust_text(one: Model) -> str:
    """Return the score on each set out of distribution, with its metric where that is not the headline's."""
    return (
        ", ".join(
            f"{score_text(score, metric)} {name}" + ("" if metric == one.metric else f" ({metric_text(metric)})")
            for name, (metric, score) in one.robustness.items()
        )
        or ABSENT
    )

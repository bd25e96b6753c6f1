"""Choose a policy again: for another drop, another price, or on labelled rows of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertwright import files, pack, store
from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit
from bertwright.exits.calibration import Promise, TooDear, at_cost, calibrate, candidates
from bertwright.exits.compaction import answer_everywhere
from bertwright.exits.costs import measure
from bertwright.exits.policies import RULES
from bertwright.pack import SUFFIX
from bertwright.stages.exiting import (
    CALIBRATION,
    EXITS,
    read_calibration,
    read_choice,
    read_ramps,
    with_choice,
    write_calibration,
)
from bertwright.stages.fine_tuned import Answering, FineTuned, answering, find
from bertwright.stages.packs import encoder_of, place
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.layout import Layout
from bertwright.tasks.readers import read
from bertwright.training.precision import choose

_RANK = {"certified": 3, "bound": 3, "estimate": 2, "uncertified": 1}


@dataclass(frozen=True)
class Wanted:
    """What a policy is chosen by: a share of rows (or of a metric) that may be lost, or seconds a row.

    ``policies`` are the names to try; none: all that fit. ``tolerance`` is patience's, in a regression.
    """

    max_drop: float | None = None
    at_most: float | None = None
    delta: float = 0.05
    policies: tuple[str, ...] = ()
    tolerance: float | None = None


@dataclass(frozen=True)
class Tuned:
    """The options, a promise for each kind of policy, the best first; ``out`` is where the best was written.

    ``seconds`` (E,) are what leaving at each exit takes, where they were measured.
    """

    options: tuple[Promise, ...]
    layers: tuple[int, ...]
    rows: int
    out: Path | None
    seconds: tuple[float, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        given = [one.as_dict() for one in self.options]
        return {**asdict(self), "options": given, "out": None if self.out is None else str(self.out)}


def tune_exits(
    model: str | Path,
    wanted: Wanted,
    *,
    rows: str | Path | None = None,
    label: str = "label",
    encoder: str | Path | None = None,
    out: str | Path | None = None,
    keep: bool = True,
) -> Tuned:
    """Choose the policy of a run with ramps, or of a pack, and write it there, or to ``out``.

    The rows are those that were kept back in training, whose answers lie beside the run, or labelled ``rows`` of one's
    own that took part in nothing else. Several kinds of policies share ``delta``, because the same rows choose among
    them. Without ``keep`` nothing is written.
    """
    if (wanted.max_drop is None) == (wanted.at_most is None):
        raise InputError("give one of --max-drop (what may be lost, such as 0.5%) and --latency (such as 20ms)")
    found, task = find(Path(model))
    if task.kind == "regression" and wanted.at_most is not None:
        raise InputError(
            "--latency bounds the share of rows that are lost, and a regression's numbers are neither right nor wrong; "
            "give --max-drop, which is of its metric"
        )
    target = _target(found, None if out is None else Path(out)) if keep else None
    beside = found.parent if found.suffix == SUFFIX else found
    run = None
    if rows is not None or wanted.at_most is not None:
        own = None
        if found.suffix == SUFFIX:
            own = Path(encoder) if encoder is not None else encoder_of(found)
        run = answering(found, choose("auto", "auto"), own)
    if rows is None:
        every, gold = _kept(beside / CALIBRATION, task, found)
    else:
        every, gold = _labelled(found, task, run, Path(rows), label)  # type: ignore[arg-type]
    seconds = None
    if run is not None and wanted.at_most is not None:
        ramps = read_ramps(found, run.config).to(run.precision.device, run.precision.dtype)
        seconds = measure(run.model, ramps, task.max_length).of_exits(every.layers)
    before = read_choice(found) or {}
    metric = str(before.get("metric") or "spearman") if task.kind == "regression" else None
    options = _options(every, gold, task, wanted, seconds, metric)
    if target is not None:
        source = "rows kept back" if rows is None else Path(rows).name
        about = {"kind": task.kind, "layers": list(every.layers), "calibrated_on": source}
        _write(found, target, {**before, **options[0].as_dict(), **about}, every, gold, encoder)
    return Tuned(tuple(options), every.layers, every.rows, target, seconds)


def _target(found: Path, out: Path | None) -> Path:
    """Return where the choice goes; what is sealed stays as it is."""
    if out is not None:
        if out.exists() and out.resolve() != found.resolve():
            raise InputError(f"{out} is there already; name another place, or remove it first")
        if (out.suffix == SUFFIX) != (found.suffix == SUFFIX):
            kind = "a pack, so its name has to end in .pack" if found.suffix == SUFFIX else "a folder, not a pack"
            raise InputError(f"{out}: what is written is {kind}; name another place")
    target = out or found
    if any((folder / store.RECORD).is_file() for folder in target.resolve().parents):
        raise InputError(
            f"{target} lies in the store, where finished stages stay as they are; name another place with -o, or look "
            "at the options alone with --show"
        )
    return target


def _kept(path: Path, task: FineTuned, found: Path) -> tuple[EveryExit, np.ndarray]:
    if not path.is_file():
        raise InputError(
            f"{found} has no {CALIBRATION} beside it, which the run's folder `exits` has; name that folder, or give "
            "labelled rows that took part in nothing else with --rows FILE"
        )
    return read_calibration(path, task.kind)


def _labelled(found: Path, task: FineTuned, run: Answering, path: Path, label: str) -> tuple[EveryExit, np.ndarray]:
    """Answer labelled rows of a file at every exit."""
    given = read(
        path,
        text=task.text,
        label=label,
        kind=task.kind,
        none_label=task.none_label,
        label_separator=task.label_separator,
        layout=Layout(brackets=task.brackets),
    )
    ramps = read_ramps(found, run.config).to(run.precision.device, run.precision.dtype)
    names = None if task.kind == "regression" else run.labels
    every = answer_everywhere(run.model, ramps, run.encode(given.texts, task.max_length), task.kind)
    return every, LabelMap(task.kind, names).numbers(given)


def _options(
    every: EveryExit,
    gold: np.ndarray,
    task: FineTuned,
    wanted: Wanted,
    seconds: Sequence[float] | None,
    metric: str | None,
) -> list[Promise]:
    """Return a promise for each kind of policy, the best first; a ``metric`` is what a regression's drop is of."""
    ramps, classes = len(every.layers) - 1, every.logits.shape[2]
    fitting = [
        name
        for name, rule in RULES.items()
        if task.kind in rule.kinds
        and name != "never"
        and (name != "learned" or every.scores is not None)
        and (name != "patience" or (ramps > 1 and (task.kind != "regression" or wanted.tolerance is not None)))
    ]
    names = wanted.policies or fitting
    if wrong := [name for name in names if name not in fitting]:
        raise InputError(f"the policy {wrong[0]} does not go with these ramps; those that do are {', '.join(fitting)}")
    delta = wanted.delta / len(names)
    found, dear = [], list[TooDear]()
    for name in names:
        tolerance = wanted.tolerance if name == "patience" and task.kind == "regression" else None
        given = candidates(name, task.kind, ramps=ramps, classes=classes, tolerance=tolerance)
        if wanted.at_most is not None:
            try:
                found.append(at_cost(every, gold, given, at_most=wanted.at_most, costs=seconds, delta=delta))
            except TooDear as error:
                dear.append(error)
            continue
        found.append(calibrate(every, gold, given, max_drop=wanted.max_drop or 0.0, delta=delta, metric=metric))
    if not found:
        raise dear[0]
    if wanted.at_most is not None:
        return sorted(found, key=lambda one: one.bound or 0.0)
    return sorted(found, key=lambda one: (-_RANK[one.basis], -one.saving))


def _write(
    found: Path,
    target: Path,
    choice: dict[str, Any],
    every: EveryExit,
    gold: np.ndarray,
    encoder: str | Path | None,
) -> None:
    """Write the choice into a pack or a model's folder; another place gets a whole copy."""
    if found.suffix == SUFFIX:
        made = with_choice(pack.read(found), choice)
        if target == found:
            pack.write(target, made)
        else:
            place(target, made, Path(encoder) if encoder is not None else encoder_of(found))
        return
    if target != found:
        with files.writing_folder(target) as folder:
            files.copy_folder(found, folder)
            files.write_json(folder / EXITS, choice)
            write_calibration(folder / CALIBRATION, every, gold)
        return
    files.write_json(target / EXITS, choice)
    write_calibration(target / CALIBRATION, every, gold)

"""What a task's early exits ask of its runs and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bertwright.errors import InputError
from bertwright.recipe.exits import HOLDOUT, Exits
from bertwright.recipe.methods import Method
from bertwright.tasks.task import Task

# What a published system says of its whole training, where ramps learn in it.
_OF_THE_RUN = ("learning_rate", "batch", "epochs", "weight_decay", "warmup", "schedule", "clip")
_OF_RAMPS = ("routine", "form", "pooling", "start", "scored", "layers")


def check_exits(task: Task, method: Method, exits: Exits) -> None:
    """Refuse exits that do not go with a task, or with its rows."""
    where = f"task {task.name}: the exits of the method {method.label}"
    if task.window_stride is not None:
        raise InputError(
            f"{where} are of whole rows, and `window_stride` cuts long ones into windows; leave one of them out"
        )
    if task.kind == "regression" and exits.policy in ("entropy", "confidence"):
        raise InputError(
            f"{where} leave by {exits.policy}, and a regression has no probabilities; take `policy: learned`, or "
            "`patience` with a `tolerance`"
        )
    patient = exits.options(task.kind)["policy"] == "patience"
    if patient and (task.kind == "regression") != (exits.tolerance is not None):
        raise InputError(
            f"{where} leave by patience, which needs a `tolerance` in a regression and takes none elsewhere; "
            f"this is a {task.kind} task"
        )
    if exits.together and method.against is not None:
        raise InputError(
            f"{where} learn together with the model ({exits.ramps.routine}), and the loss {method.against.name} is the "
            "model's alone; take `training: two-stage`"
        )
    if exits.calibrate_on == HOLDOUT:
        return
    if exits.calibrate_on not in task.sets:
        raise InputError(
            f"{where} are to be calibrated on the set {exits.calibrate_on!r}, and there are {', '.join(task.sets)}; "
            "name one of these, or take `calibrate_on: holdout`"
        )
    if (other := task.form(exits.calibrate_on).known) is not None:
        raise InputError(
            f"{where} are to be calibrated on {exits.calibrate_on}, whose rows are those of {other}, another task; "
            "take `calibrate_on: holdout`"
        )


def learnt_together(exits: Exits | None, kind: str) -> dict[str, Any]:
    """Return the options of runs whose ramps learn in them, published settings of the training among them."""
    if exits is None or not exits.together:
        return {}
    ramps = exits.options(kind)
    own = {name: ramps[name] for name in _OF_THE_RUN} if exits.settings != "bertwright" else {}
    return {**own, "ramped": {name: ramps[name] for name in _OF_RAMPS}}


def keeping_back(task: Task, exits: Sequence[Exits | None]) -> Task:
    """Return a task whose runs all leave out what the most asking of their exits keeps back."""
    shares = [one.keep_back for one in exits if one is not None and one.calibrate_on == HOLDOUT]
    return replace(task, keep_back=max(shares)) if shares else task

"""One setting tried: a run on part of the training rows, scored on the rest, or on dev where a protocol wants that.

Sealed: the score, ``metrics.jsonl`` and, where all weights are kept, ``model/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright.debias.expert_file import with_own_ids
from bertwright.errors import DataError, Diverged
from bertwright.stages.choose import setting_of
from bertwright.stages.debiasing import joined
from bertwright.stages.fine_tuned import answer_rows
from bertwright.stages.finetune import save_run
from bertwright.stages.learning import Learnt, learn
from bertwright.stages.work import SIGNALS, Work
from bertwright.tasks.batches import lay_out
from bertwright.tasks.holdout import hold_out
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.metrics import METRICS, Score, decide
from bertwright.tasks.readers import Rows, read_rows, read_set
from bertwright.tasks.task import Task

# What a setting may differ in; the rest of a run's options is who asks, and where it starts.
_SETTING = (
    *("epochs", "batch", "learning_rate", "weight_decay", "max_length", "trainable", "betas"),
    *("schedule", "cycles", "power", "decay", "warmup", "clip"),
    *("terms", "of_terms", "layers", "pack"),
    *("loss", "attributing", "bias_columns", "ramped", "depth"),
)


def search(work: Work) -> dict[str, Any]:
    """Train at one setting and score it. A training that diverges is a setting that failed, and no failure."""
    options = setting_of(work)
    if options is None:
        return {"task": work.options["task"]["name"], "variant": work.options["variant"], "empty": True}
    task = Task.from_options(options["task"], work.paths["train"], {})
    rows = with_own_ids(read_rows(task, task.train))
    labels = LabelMap.from_rows(rows, task.kind)
    learnt_from, scored = _parted(work, options, task, rows, labels)
    epochs = options["epochs"] * options["share"]
    found: dict[str, Any] = {
        "task": task.name,
        "variant": options["variant"],
        "setting": {key: options[key] for key in _SETTING if key in options},
        "epochs": epochs,
        "selection_rows": len(scored),
        **({"chosen_by": options["chosen_by"]} if "chosen_by" in options else {}),
    }
    try:
        learnt = learn(work, options, task, learnt_from, labels, epochs=epochs)
        logits = _logits(learnt, task, labels, scored, options)
        score, sides = _score(logits, task, labels, scored, options), {}
    except Diverged as error:
        return {**found, "score": None, "note": None, "failed": str(error), "seconds": 0.0, "rows": len(learnt_from)}
    if work.settings["keep_weights"]:
        save_run(work, options, task, labels, learnt, rows=len(learnt_from))
    if "expert" in work.inputs and options["chosen_on"] != "dev":
        sides = _sides(work.inputs["expert"] / SIGNALS, logits, labels, scored)
        if options.get("select_by") == "both-sides":
            score = _mean_of(sides)
    return {
        **found,
        **({"sides": sides} if sides else {}),
        "score": score.value,
        "note": score.note,
        "failed": None,
        "changes": learnt.changes,
        "seconds": learnt.outcome.seconds,
        "rows": len(learnt_from),
    }


def _parted(work: Work, options: Mapping[str, Any], task: Task, rows: Rows, labels: LabelMap) -> tuple[Rows, Rows]:
    """Return the rows to learn from, and those to score: dev's, or some of the training rows that are kept back."""
    if options["chosen_on"] == "dev":
        ((role, path),) = ((role, path) for role, path in work.paths.items() if role != "train")
        return rows, read_set(task, role.removeprefix("set "), path)
    learnt, kept = hold_out(labels.numbers(rows), task.kind, share=options["kept_back"], seed=options["seed"])
    if not len(kept):
        raise DataError(
            f"{task.train}: of its {len(rows)} row(s) none can be kept back to choose a setting on: at most half "
            "are, and none without which a label has no row; add rows, take one setting, or set "
            "`finetune.select_on: dev`"
        )
    return rows.some(list(learnt)), rows.some(list(kept))


def _logits(
    learnt: Learnt, task: Task, labels: LabelMap, rows: Rows, options: Mapping[str, Any]
) -> npt.NDArray[np.float32]:
    """Return a run's logits of rows that were not learnt from."""
    encoded = lay_out(
        rows.texts,
        labels.numbers(rows),
        learnt.tokenizer,
        learnt.model.encoder.config,
        options["max_length"],
        task.window_stride,
    )
    return answer_rows(learnt.model, encoded, learnt.precision.device)


def _score(logits: np.ndarray, task: Task, labels: LabelMap, rows: Rows, options: Mapping[str, Any]) -> Score:
    """Return the metric that decides: the task's, or the one that a protocol names."""
    positive = labels.names.index(options["positive"]) if labels.names and options["positive"] else None
    gold = np.asarray(labels.numbers(rows))
    return METRICS[options.get("chosen_by", options["metric"])].compute(gold, decide(logits, task.kind), positive)


def _sides(signals: Path, logits: np.ndarray, labels: LabelMap, rows: Rows) -> dict[str, dict[str, Any]]:
    """Return the accuracy on rows that the expert has right, and on rows that it has wrong, with how many they are.

    Each row was scored by an expert that did not see it, or by the one there is (``folds: 1``).
    """
    gold = np.asarray(labels.numbers(rows))
    right = logits.argmax(-1) == gold
    of_expert = joined(signals, rows, labels.names or ()).logits.argmax(-1) == gold
    return {
        side: {"rows": int(own.sum()), "accuracy": float(right[own].mean()) if own.any() else None}
        for side, own in (("expert_right", of_expert), ("expert_wrong", ~of_expert))
    }


def _mean_of(sides: Mapping[str, Mapping[str, Any]]) -> Score:
    """Return the mean of both sides' accuracies, undefined where one has no rows."""
    found = [one["accuracy"] for one in sides.values()]
    if None in found:
        return Score(None, "the expert has all of these rows right, or all wrong: there is one side alone")
    return Score(float(np.mean(found)))

"""One run: a task learnt on an encoder with one seed.

Sealed: ``model/``, an ordinary classifier folder that has proved itself, with its task, or ``task.pack`` where little
of the encoder changed; and ``metrics.jsonl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertwright.debias.expert_file import with_own_ids
from bertwright.encoder.model_folder import save_model
from bertwright.errors import RunError
from bertwright.recipe.methods import LOW_RATE, PACK_METHODS
from bertwright.stages.choose import setting_of
from bertwright.stages.examples import write_examples
from bertwright.stages.exiting import write_ramps
from bertwright.stages.fine_tuned import described, write_task
from bertwright.stages.learning import Learnt, learn
from bertwright.stages.packs import write_pack
from bertwright.stages.work import MODEL, RAMPS, Work
from bertwright.tasks.batches import windows_of
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import read_rows, read_set
from bertwright.tasks.task import Task
from bertwright.text.tokenizer import Tokenizer


def finetune(work: Work) -> dict[str, Any]:
    """Fine-tune a task, at its own setting or the chosen one, and save what came of it."""
    options = setting_of(work)
    if options is None:
        raise RunError("no setting was chosen for this run; give the same command again")
    task = Task.from_options(options["task"], work.paths["train"], {})
    rows = with_own_ids(read_rows(task, task.train))
    labels = LabelMap.from_rows(rows, task.kind)
    learnt = learn(work, options, task, rows, labels, epochs=options["epochs"])
    names = labels.names or (task.label,)
    against = {}
    if learnt.guide is not None:
        told = write_examples(work.folder, learnt, learnt.guide, rows, labels, options["seed"])
        against = {"against": {**told, "attributing": options.get("attributing")}}
    kept = save_run(work, options, task, labels, learnt, rows=len(rows))
    model, outcome = learnt.model, learnt.outcome
    return {
        "task": task.name,
        "variant": options["variant"],
        "seed": options["seed"],
        "method": options["trainable"],
        "settings": {
            **{key: options[key] for key in ("epochs", "batch", "learning_rate", "max_length", "schedule")},
            **{key: value for key, value in options.get("loss", {}).items() if key in ("alpha", "beta")},
        },
        "precision": learnt.precision.name,
        "steps": outcome.steps,
        "epochs": options["epochs"],
        "seconds": outcome.seconds,
        "rows": len(rows),
        "rows_cut": learnt.rows.cut,
        **({} if learnt.rows.owners is None else {"windows": len(learnt.rows.ids)}),
        **({} if learnt.weights is None else {"class_weights": dict(zip(names, learnt.weights.tolist(), strict=True))}),
        "train_loss": outcome.train_loss,
        "rows_per_second": outcome.steps * options["batch"] / outcome.seconds,
        "skipped_updates": outcome.skipped,
        "trained_parameters": learnt.counts.total,
        "trained_tensors": learnt.trained_tensors,
        "counts": learnt.counts.as_dict(),
        "changes": learnt.changes,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "labels": list(names),
        "notes": [*labels.notes, *rows.notes, *_low_rate(options), *_not_compared(against)],
        **against,
        **kept,
    }


def save_run(
    work: Work, options: Mapping[str, Any], task: Task, labels: LabelMap, learnt: Learnt, *, rows: int
) -> dict[str, Any]:
    """Write what a run learnt of so many ``rows``: an ordinary folder that proves itself, or a pack.

    Returns what there is to tell of it.
    """
    names = labels.names or (task.label,)
    if learnt.ramps is not None:
        write_ramps(work.folder / RAMPS, learnt.ramps)
    if options["trainable"] in PACK_METHODS:
        about = asdict(described(task, options["max_length"]))
        return {"pack_bytes": write_pack(work, options, about, names, learnt.model.cpu(), rows=rows)}
    model = learnt.model.float().cpu()
    proof = save_model(work.folder / MODEL, model, learnt.tokenizer, labels=names, problem=task.kind)
    write_task(work.folder / MODEL, task, options["max_length"])
    return {"proof": proof}


def _low_rate(options: Mapping[str, Any]) -> list[str]:
    """Warn of a rate that suits whole models and moves biases too little."""
    if options["trainable"] == "full" or options["learning_rate"] >= LOW_RATE:
        return []
    return [
        f"the learning rate {options['learning_rate']:g} is low for {options['trainable']}, which wants "
        f"{LOW_RATE:g} to 1e-3 and more: ten to a hundred times that of full fine-tuning"
    ]


@dataclass(frozen=True)
class Sizes:
    """How many rows a file has, and how many tokens a batch of them is wide, on average and at most."""

    rows: int
    length: int
    longest: int


def _not_compared(against: Mapping[str, Any]) -> list[str]:
    """Say what a comparison of attributions had to leave out."""
    told = against.get("against", {})
    notes = []
    if (empty := round(told.get("empty", 0.0) * told.get("rows", 0))) > 0:
        notes.append(
            f"{empty:,} of {told['rows']:,} rows looked at have nothing that both models look at (an empty column?): "
            "their similarity is 0, and most of what they teach is alpha times the cross entropy"
        )
    if told.get("lost_units"):
        notes.append(f"{told['lost_units']:,} words were cut from one model's text alone, and are not compared")
    return notes


def sizes_of(
    options: Mapping[str, Any], path: Path, tokenizer: Tokenizer | None, max_length: int, *, name: str | None = None
) -> Sizes:
    """Count the rows of a training file, or of the set called ``name``, and measure their length.

    Without a tokenizer yet, a token is taken to be four characters.
    """
    task = Task.from_options(options, path, {})
    rows = read_rows(task, path) if name is None else read_set(task, name, path)
    sample = rows.texts[:: max(1, len(rows) // 500)]
    if tokenizer is not None:
        lengths = [sum(len(ids) for ids in tokenizer.encode(list(texts))) + len(texts) + 1 for texts in sample]
    else:
        lengths = [sum(len(text) for text in texts) // 4 + len(texts) + 1 for texts in sample]
    count = len(rows)
    if task.window_stride is not None:
        # About as many as ``encode_windows`` makes of a text alone; the other half of a pair takes some room of each.
        each = [len(windows_of(length, max_length, task.window_stride)) for length in lengths]
        count = round(count * sum(each) / len(each))
    widths = np.minimum(lengths, max_length)
    return Sizes(count, int(np.ceil(widths.mean())), int(widths.max()))

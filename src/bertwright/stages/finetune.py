"""One run: a task learnt on an encoder with one seed.

Sealed: ``model/``, an ordinary classifier folder that has proved itself, with its task, or ``task.pack`` where little
of the encoder changed; and ``metrics.jsonl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

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
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import read_rows
from bertwright.tasks.task import Task


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
        "longest": min(options["max_length"], model.encoder.config.positions),
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
        "layers": model.encoder.config.layers,
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

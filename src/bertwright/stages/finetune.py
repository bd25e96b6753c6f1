"""One run: a task learnt on an encoder with one seed.

Sealed: ``model/``, an ordinary classifier folder that has proved itself, with its task, and ``metrics.jsonl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.models import build_classifier
from bertwright.recipe import Finetune
from bertwright.stages.fine_tuned import lay_out, write_task
from bertwright.stages.model_folder import save_model
from bertwright.stages.training_choices import as_budget, schedule_of
from bertwright.stages.work import MODEL, Work
from bertwright.tasks.batches import TrainBatches, windows_of
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import read_rows, read_set
from bertwright.tasks.task import Task
from bertwright.tasks.weights import label_weights
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.budget import Budget
from bertwright.training.loop import train
from bertwright.training.losses import LOSSES, WEIGHTED_LOSSES
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import choose
from bertwright.training.ranks import Ranks
from bertwright.training.trainable import select


def finetune(work: Work) -> dict[str, Any]:
    """Fine-tune a task and save an ordinary classifier folder."""
    options = work.options
    choice = Finetune.model_validate(
        {key: value for key, value in options.items() if key in Finetune.model_fields} | dict(work.settings)
    )
    task = Task.from_options(options["task"], work.paths["train"], {})
    torch.set_num_threads(work.machine.threads)
    tokenizer = Tokenizer.load(work.inputs["tokenizer"])
    loaded = families.load(work.inputs["encoder"])
    rows = read_rows(task, task.train)
    labels = LabelMap.from_rows(rows, task.kind)
    numbers = labels.numbers(rows)
    encoded = lay_out(rows.texts, numbers, tokenizer, loaded.config, choice.max_length, task.window_stride)
    weights = None if task.class_weights is None else label_weights(task.class_weights, labels, numbers)
    model = build_classifier(
        loaded.config,
        labels.outputs,
        seed=options["seed"],
        encoder=loaded.encoder,
        pooler=loaded.pooler,
        masked_lm_head=loaded.masked_lm_head,
    )
    with torch.no_grad():
        model.head.output.bias.copy_(torch.from_numpy(first_answer(numbers, task.kind)))
    trained = select(model, choice.trainable)
    precision = choose(work.machine.device, work.machine.precision)
    model.to(precision.device, precision.dtype)
    model.encoder.attention_form("matmul" if precision.device.type == "cpu" else "sdpa")
    batches = TrainBatches(
        encoded, batch=choice.batch, micro_batch=choice.micro_batch or choice.batch, seed=options["seed"]
    )
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    counted = sum(parameter.numel() for _, parameter in parameters)
    outcome = train(
        model,
        batches,
        LOSSES[task.kind] if weights is None else WEIGHTED_LOSSES[task.kind](torch.tensor(weights).float()),
        Optimizer(
            parameters,
            name="adamw",
            settings=Settings(choice.learning_rate, choice.weight_decay, betas=(0.9, 0.999)),
        ),
        schedule=schedule_of(choice),
        warmup=choice.warmup,
        budget=Budget("epochs", choice.epochs),
        clip=choice.clip,
        seed=options["seed"],
        ranks=Ranks(),
        folder=work.scratch,
        metrics=work.folder / "metrics.jsonl",
        checkpoint_every=as_budget(choice.checkpoint_every),
        progress=work.tell,
    )
    names = labels.names or (task.label,)
    proof = save_model(work.folder / MODEL, model.float().cpu(), tokenizer, labels=names, problem=task.kind)
    write_task(work.folder / MODEL, task, choice.max_length)
    return {
        "task": task.name,
        "variant": options["variant"],
        "seed": options["seed"],
        "method": choice.trainable,
        "settings": {key: options[key] for key in ("epochs", "batch", "learning_rate", "max_length", "schedule")},
        "precision": precision.name,
        "steps": outcome.steps,
        "epochs": choice.epochs,
        "seconds": outcome.seconds,
        "rows": len(rows),
        "rows_cut": encoded.cut,
        **({} if encoded.owners is None else {"windows": len(encoded.ids)}),
        **({} if weights is None else {"class_weights": dict(zip(names, weights.tolist(), strict=True))}),
        "train_loss": outcome.train_loss,
        "rows_per_second": outcome.steps * choice.batch / outcome.seconds,
        "skipped_updates": outcome.skipped,
        "trained_parameters": counted,
        "trained_tensors": len(trained),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "labels": list(names),
        "notes": [*labels.notes, *rows.notes],
        "proof": proof,
    }


def first_answer(labels: np.ndarray, kind: str) -> np.ndarray:
    """Return the head's bias to begin with, (C,): the labels' mean, or the log-odds of each label's share of the rows.

    From 0 a short training is spent on that alone: a bias moves by the learning rate a step, and rare labels are never
    given (Lin et al. 2017, section 4.1). Classes begin at 0, as they do elsewhere.
    """
    if kind == "regression":
        return np.array([labels.mean()], dtype=np.float32)
    if kind == "multi-label":
        share = (labels.sum(axis=0) + 0.5) / (len(labels) + 1)  # no label is taken to be impossible, or certain
        return np.asarray(np.log(share / (1 - share)), dtype=np.float32)
    return np.zeros(1, dtype=np.float32)


def config_in(folder: Path) -> EncoderConfig:
    """Return the shape of the encoder in a model folder."""
    return families.read_config(folder)


@dataclass(frozen=True)
class Sizes:
    """How many rows a file has and how many tokens a batch of them is wide, on average."""

    rows: int
    length: int


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
    return Sizes(count, int(np.ceil(np.minimum(lengths, max_length).mean())))

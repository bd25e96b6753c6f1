"""How a task is learnt on an encoder: what a run does, whoever asks for it.

Methods share it: the settings, the rows and the encoder are handed in, a trained classifier comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bertwright.encoder import families
from bertwright.encoder.models import Classifier, build_classifier
from bertwright.recipe import Finetune
from bertwright.stages.fine_tuned import lay_out
from bertwright.stages.training_choices import as_budget, schedule_of
from bertwright.stages.work import Work
from bertwright.tasks.batches import Encoded, TrainBatches
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows
from bertwright.tasks.task import Task
from bertwright.tasks.weights import label_weights
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.budget import Budget
from bertwright.training.loop import Outcome, train
from bertwright.training.losses import LOSSES, WEIGHTED_LOSSES
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import Precision, choose
from bertwright.training.ranks import Ranks
from bertwright.training.trainable import select


@dataclass(frozen=True)
class Learnt:
    """A trained classifier on its device, what it was trained on, and how that went."""

    model: Classifier
    tokenizer: Tokenizer
    rows: Encoded
    weights: np.ndarray | None
    """A weight in the loss for each label, where the task has some."""
    outcome: Outcome
    precision: Precision
    trained_tensors: int
    trained_parameters: int


def learn(work: Work, options: Mapping[str, Any], task: Task, rows: Rows, labels: LabelMap, *, epochs: float) -> Learnt:
    """Train a classifier on rows for so many epochs, with the settings in ``options`` and the work's encoder."""
    torch.set_num_threads(work.machine.threads)
    choice = choice_of(work, options)
    tokenizer = Tokenizer.load(work.inputs["tokenizer"])
    loaded = families.load(work.inputs["encoder"])
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
        before=loaded.classifier,
    )
    with torch.no_grad():
        model.head.output.bias.copy_(torch.from_numpy(first_answer(numbers, task.kind)))
    trained = select(model, choice.trainable)
    precision = choose(work.machine.device, work.machine.precision)
    model.to(precision.device, precision.dtype)
    model.encoder.attention_form("matmul" if precision.device.type == "cpu" else "sdpa")
    optimizer = _optimizer(model, choice)
    outcome = train(
        model,
        TrainBatches(encoded, batch=choice.batch, micro_batch=choice.micro_batch or choice.batch, seed=options["seed"]),
        LOSSES[task.kind] if weights is None else WEIGHTED_LOSSES[task.kind](torch.tensor(weights).float()),
        optimizer,
        schedule=schedule_of(choice),
        warmup=choice.warmup,
        budget=Budget("epochs", epochs),
        clip=choice.clip,
        seed=options["seed"],
        ranks=Ranks(),
        folder=work.scratch,
        metrics=work.folder / "metrics.jsonl",
        checkpoint_every=as_budget(choice.checkpoint_every),
        progress=work.tell,
    )
    counted = sum(weight.numel() for weight in optimizer.weights)
    return Learnt(model, tokenizer, encoded, weights, outcome, precision, len(trained), counted)


def choice_of(work: Work, options: Mapping[str, Any]) -> Finetune:
    """Return a run's settings, checked."""
    own = {key: value for key, value in {**options, **work.settings}.items() if key in Finetune.model_fields}
    return Finetune.model_validate(own)


def _optimizer(model: nn.Module, choice: Finetune) -> Optimizer:
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    settings = Settings(choice.learning_rate, choice.weight_decay, betas=(0.9, 0.999))
    return Optimizer(parameters, name="adamw", settings=settings)


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

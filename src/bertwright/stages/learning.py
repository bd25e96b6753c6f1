"""How a task is learnt on an encoder: what a run does, whoever asks for it.

Methods share it: the settings, the rows and the encoder are handed in, a trained classifier comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bertwright.bias_terms import Term
from bertwright.encoder import families
from bertwright.encoder.biases import locate
from bertwright.encoder.models import Classifier, build_classifier, first_layers
from bertwright.exits.ramps import Ramps
from bertwright.recipe.sections import Finetune
from bertwright.stages.debiasing import Guide, Learning, guide
from bertwright.stages.methods import (
    Counts,
    changes,
    choose_parameters,
    chosen_terms,
    counts_of,
    refuse_other_changes,
    write,
)
from bertwright.stages.packs import with_pack
from bertwright.stages.ramped import ramped
from bertwright.stages.training_choices import as_budget, finetuning, schedule_of
from bertwright.stages.work import PACK, Work
from bertwright.tasks.batches import Encoded, TrainBatches, lay_out
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows
from bertwright.tasks.task import Task
from bertwright.tasks.weights import label_weights
from bertwright.text.tokenizer import Tokenizer
from bertwright.training import trainable
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence
from bertwright.training.feed import Batches
from bertwright.training.loop import Outcome, train
from bertwright.training.losses import LOSSES, WEIGHTED_LOSSES, Loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import Precision, choose
from bertwright.training.ranks import Ranks
from bertwright.training.trainable import Chosen

_BETAS = (0.9, 0.999)
"""AdamW's, where a protocol names none."""
# Parts of a learner that are beside its model.
_BESIDE = ("bias_head.", "ramps.")


@dataclass(frozen=True)
class Learnt:
    """A trained classifier on its device, fp32; what it was trained on, how that went, and what of it changed."""

    model: Classifier
    tokenizer: Tokenizer
    rows: Encoded
    weights: np.ndarray | None
    """A weight in the loss for each label, where the task has some."""
    outcome: Outcome
    precision: Precision
    trained_tensors: int
    counts: Counts
    changes: list[dict[str, Any]]
    """How far each bias term moved; empty where all weights, or none of the biases, learn."""
    guide: Guide | None = None
    """The loss against a shortcut, where it was one."""
    ramps: Ramps | None = None
    """Ramps that learnt together with the model, fp32."""


@dataclass(frozen=True)
class _Start:
    """The classifier that a run begins with; whether its head's dense layer came with the encoder."""

    model: Classifier
    pooler: bool


def learn(work: Work, options: Mapping[str, Any], task: Task, rows: Rows, labels: LabelMap, *, epochs: float) -> Learnt:
    """Train a classifier on rows for so many epochs, with the settings in ``options`` and the work's encoder."""
    torch.set_num_threads(work.machine.threads)
    choice = finetuning(options, work.settings)
    tokenizer = Tokenizer.load(work.inputs["tokenizer"])
    numbers = labels.numbers(rows)
    start = _start(work, options, labels.outputs, first_answer(numbers, task.kind))
    model, config = start.model, start.model.encoder.config
    encoded = lay_out(rows.texts, numbers, tokenizer, config, choice.max_length, task.window_stride)
    weights = None if task.class_weights is None else label_weights(task.class_weights, labels, numbers)
    chosen = choose_parameters(model, options, pooler=start.pooler)
    counts = counts_of(model, chosen, pooler=start.pooler)
    plain = TrainBatches(
        encoded, batch=choice.batch, micro_batch=choice.micro_batch or choice.batch, seed=options["seed"]
    )
    guided = None
    if "loss" in options:
        about = Learning(task, rows, labels, encoded, tokenizer, model, choice.max_length)
        guided = guide(work.inputs, options, about, plain, weights)
    together = ramped(model, options, task.kind, plain, weights) if "ramped" in options else None
    beside = guided or together
    # A bias head learns beside the model, and is not kept; ramps learn with it, and are.
    learner = model if beside is None else beside.learner
    learning = {**chosen, **dict.fromkeys(name for name, _ in learner.named_parameters() if name.startswith(_BESIDE))}
    trainable.freeze_others(learner, learning)
    precision = choose(work.machine.device, work.machine.precision)
    learner.to(precision.device)
    optimizer = _optimizer(learner, choice, learning, precision, options.get("betas", _BETAS))
    learner.to(precision.dtype)
    model.encoder.attention_form("matmul" if precision.device.type == "cpu" else "sdpa")
    batches, loss = (plain, _loss(task, weights)) if beside is None else (beside.batches, beside.loss)
    outcome = _train(work, choice, learner, batches, loss, optimizer, epochs=epochs, seed=options["seed"])
    moved: list[dict[str, Any]] = []
    if options["trainable"] != "full":
        # What was frozen worked in a rounded format: what was learnt goes into the encoder as it was read.
        start = _start(work, options, labels.outputs, first_answer(numbers, task.kind))
        refuse_other_changes(model, start.model, chosen)
        moved = _write_learnt(start.model, optimizer, chosen, chosen_terms(options, config, pooler=start.pooler))
        model = start.model.to(precision.device)
    ramps = None if together is None else together.learner.ramps.float()
    return Learnt(model, tokenizer, encoded, weights, outcome, precision, len(chosen), counts, moved, guided, ramps)


def _train(
    work: Work,
    choice: Finetune,
    learner: nn.Module,
    batches: Batches,
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: float,
    seed: int,
) -> Outcome:
    """Run the loop with a run's settings, in the work's folders."""
    return train(
        learner,
        batches,
        loss,
        optimizer,
        schedule=schedule_of(choice),
        warmup=choice.warmup,
        budget=Budget("epochs", epochs),
        clip=choice.clip,
        seed=seed,
        ranks=Ranks(),
        folder=work.scratch,
        metrics=work.folder / "metrics.jsonl",
        cadence=Cadence(as_budget(choice.checkpoint_every)),
        progress=work.tell,
    )


def _loss(task: Task, weights: np.ndarray | None) -> Loss:
    """Return a task's own loss."""
    return LOSSES[task.kind] if weights is None else WEIGHTED_LOSSES[task.kind](torch.tensor(weights).float())


def _start(work: Work, options: Mapping[str, Any], outputs: int, answer: np.ndarray) -> _Start:
    """Return the classifier that a run begins with; asked twice, it is the same one.

    A run that starts from another one's pack has that pack's biases and all but the last layer of its head.
    """
    loaded = families.load(work.inputs["encoder"])
    encoder, before = loaded.encoder, loaded.classifier
    if "before" in work.inputs:
        earlier, *_ = with_pack(work.inputs["before"] / PACK, work.inputs["encoder"])
        encoder, before = earlier.encoder, earlier.head
    if (depth := options.get("depth")) is not None:
        encoder = first_layers(encoder, depth)
    model = build_classifier(
        encoder.config,
        outputs,
        seed=options["seed"],
        encoder=encoder,
        pooler=loaded.pooler,
        masked_lm_head=loaded.masked_lm_head,
        before=before,
    )
    with torch.no_grad():
        model.head.output.bias.copy_(torch.from_numpy(answer))
    # A dense layer that an earlier task's run learnt is part of a head, and did not come with the encoder.
    original = families.load(work.inputs["original"]) if "original" in work.inputs else loaded
    return _Start(model, bool(original.head_layers))


def _write_learnt(
    model: Classifier, optimizer: Optimizer, chosen: Chosen, terms: Sequence[Term]
) -> list[dict[str, Any]]:
    """Put what was learnt into a model as it was before; return how far each bias term moved."""
    before = {name: model.get_parameter(name).detach().clone() for name in chosen}
    learnt = {name: value for name, value in optimizer.master_weights().items() if name in chosen}
    write(model, learnt, chosen)
    biases = [term for term in terms if locate(term, model.encoder.config).name in chosen]
    return changes(model, before, tuple(biases))


def _optimizer(
    model: nn.Module, choice: Finetune, chosen: Chosen, precision: Precision, betas: Sequence[float]
) -> Optimizer:
    first, second = betas
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if name in chosen]
    settings = Settings(choice.learning_rate, choice.weight_decay, betas=(first, second))
    entries = trainable.entries_of(chosen)
    return Optimizer(parameters, name="adamw", settings=settings, dtype=precision.dtype, entries=entries)


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

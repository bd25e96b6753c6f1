"""One real step of a shape, before any work: what a forecast of trainings is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.heads import MaskedLMHead
from bertwright.encoder.models import Classifier, MaskedLM, build_classifier, build_masked_lm
from bertwright.encoder.stack import Encoder, set_dropout
from bertwright.recipe.sections import Pretrain
from bertwright.stages.methods import choose_parameters
from bertwright.stages.setup import drawn_batch
from bertwright.stages.training_choices import optimizer_of
from bertwright.training import trainable
from bertwright.training.allocation import memory_kept
from bertwright.training.feed import on_device
from bertwright.training.losses import Loss, classification_loss, masked_lm_loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import choose


@dataclass(frozen=True)
class StepCost:
    """Seconds of one micro-batch, forward and backward, and of one update; parameters of the model."""

    micro_batch: float
    update: float
    parameters: int


def measure_pretraining(
    config: EncoderConfig,
    choice: Pretrain,
    *,
    rows: int,
    length: int,
    device: str,
    precision: str,
    threads: int,
    again: bool = False,
) -> StepCost:
    """Take a real step on drawn tokens, (rows, length), and time the second micro-batch and the update.

    ``again``: activations are computed again on the way back.
    """
    model = build_masked_lm(config, seed=0)
    model.encoder.activation_checkpointing = again
    set_dropout(model, 0.0)
    batch = drawn_batch(config, rows, length, choice.mask_rate, apart=choice.document_mask)
    return _timed(model, masked_lm_loss, lambda: optimizer_of(model, choice), batch, device, precision, threads)


def measure_finetuning(
    config: EncoderConfig,
    trained: Mapping[str, Any],
    *,
    rows: int,
    length: int,
    longest: int,
    device: str,
    precision: str,
    threads: int,
) -> StepCost:
    """Take a real fine-tuning step on drawn tokens, (rows, length), of what a run's options say is ``trained``.

    Behind it goes one pass, untimed, as wide as the ``longest`` rows: a memory meter sees what that takes.
    """
    model = build_classifier(config, 2, seed=0)
    chosen = choose_parameters(model, trained, pooler=True)
    trainable.freeze_others(model, chosen)

    def batch_of(width: int) -> dict[str, object]:
        drawn = drawn_batch(config, rows, width, 0.15)
        return {**drawn, "labels": torch.zeros(rows, dtype=torch.long), "count": rows}

    def optimizer() -> Optimizer:
        named = [(name, parameter) for name, parameter in model.named_parameters() if name in chosen]
        return Optimizer(named, name="adamw", settings=Settings(0.0, 0.0), entries=trainable.entries_of(chosen))

    wide = batch_of(longest) if longest > length else None
    return _timed(model, classification_loss, optimizer, batch_of(length), device, precision, threads, wide)


def count_parameters(config: EncoderConfig) -> int:
    """Return the parameters of a masked language model of this shape, without building it."""
    with torch.device("meta"):
        model = MaskedLM(Encoder(config), MaskedLMHead(config))
    return sum(parameter.numel() for parameter in model.parameters())


def _timed(
    model: MaskedLM | Classifier,
    loss: Loss,
    new_optimizer: Callable[[], Optimizer],
    batch: dict[str, object],
    device: str,
    precision: str,
    threads: int,
    wide: dict[str, object] | None = None,
) -> StepCost:
    torch.set_num_threads(threads)
    chosen = choose(device, precision)
    model.to(chosen.device, chosen.dtype)
    model.encoder.attention_form("matmul" if chosen.device.type == "cpu" else "sdpa")
    optimizer = new_optimizer()
    batch, wide = (on_device(one, chosen.device) for one in (batch, wide or {}))
    updates = []
    with memory_kept():
        micro = [_seconds(model, loss, batch, optimizer) for _ in range(3)]
        for _ in range(2):
            begun = time.perf_counter()
            optimizer.norm()
            optimizer.step(scale=1.0, multiplier=0.0)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            updates.append(time.perf_counter() - begun)
            micro.append(_seconds(model, loss, batch, optimizer))
        if wide:
            _seconds(model, loss, wide, optimizer)
    return StepCost(min(micro[1:]), min(updates), sum(parameter.numel() for parameter in model.parameters()))


def _seconds(model: nn.Module, loss: Loss, batch: dict[str, object], optimizer: Optimizer) -> float:
    begun = time.perf_counter()
    loss(model, batch).total.backward()  # type: ignore[no-untyped-call]
    optimizer.accumulate()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun

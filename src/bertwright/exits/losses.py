"""Losses over all exits, for the one training loop. Shapes: E exits, R = E - 1 ramps, B rows, C classes, H width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertwright.errors import InputError, RunError
from bertwright.training.feed import Batches, MicroBatches
from bertwright.training.losses import Loss, LossSum
from bertwright.training.order import Place


def _two_stage(layers: Sequence[int], _: Mapping[str, Any]) -> list[float]:
    """Every ramp counts one, the tuned classifier nothing (DeeBERT's second stage)."""
    return [1.0] * (len(layers) - 1) + [0.0]


def _joint(layers: Sequence[int], _: Mapping[str, Any]) -> list[float]:
    """Every exit counts one (BERxiT's joint training)."""
    return [1.0] * len(layers)


def _alternate(layers: Sequence[int], batch: Mapping[str, Any]) -> list[float]:
    """Even steps have the last exit alone, odd ones all (BERxiT), by the step of the whole training."""
    if "step" not in batch:
        raise RunError("alternating losses need the number of the step: give the loop `Numbered(batches)`")
    return _joint(layers, batch) if batch["step"] % 2 else [0.0] * (len(layers) - 1) + [1.0]


def _weighted(layers: Sequence[int], _: Mapping[str, Any]) -> list[float]:
    """An exit counts by its layer: sum i L_i / sum i (Zhou et al. 2020, PABEE)."""
    return [layer / sum(layers) for layer in layers]


ROUTINES: dict[str, Callable[[Sequence[int], Mapping[str, Any]], list[float]]] = {
    "two-stage": _two_stage,
    "joint": _joint,
    "alternate": _alternate,
    "weighted": _weighted,
}
"""How ramps are trained: from the exits' layers and a batch to what each exit's loss counts, (E,)."""


def exits_loss(routine: str, kind: str, weights: Tensor | None = None) -> Loss:
    """Return the loss of a ``RampedClassifier``: each exit's own, summed as a routine of ``ROUTINES`` says.

    ``weights`` (C,) are the labels', as for the classifier alone. Where the ramps have a learned score its squared
    error is added.
    """
    if routine not in ROUTINES:
        raise InputError(f"ramps cannot be trained by {routine!r}; choose one of {', '.join(ROUTINES)}")

    def loss(model: Any, batch: Mapping[str, Any]) -> LossSum:
        found = model(batch["ids"], mask=batch["mask"], segments=batch["segments"])
        layers = model.layers
        counts = torch.tensor(ROUTINES[routine](layers, batch), device=found.logits.device)
        logits = found.logits.float()
        total = (counts * exit_sums(logits, batch["labels"], kind, weights)).sum()
        if found.score is not None:
            total = total + score_sum(found.score.float(), logits[:-1], batch["labels"], kind)
        return LossSum(total, batch["count"])

    return loss


def ramps_loss(kind: str, weights: Tensor | None = None) -> Loss:
    """Return the loss of ``Ramps`` alone on pooled states, ``batch["pooled"]`` (B, R, H): the sum over the ramps."""

    def loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
        dtype = next(model.parameters()).dtype
        found = model(batch["pooled"].to(dtype).transpose(0, 1))
        logits = found.logits.float()
        total = exit_sums(logits, batch["labels"], kind, weights).sum()
        if found.score is not None:
            total = total + score_sum(found.score.float(), logits, batch["labels"], kind)
        return LossSum(total, batch["count"])

    return loss


def exit_sums(logits: Tensor, labels: Tensor, kind: str, weights: Tensor | None = None) -> Tensor:
    """Return each exit's loss summed over rows, (E,): logits (E, B, C) fp32, labels as the kind has them.

    Cross entropy; for several labels the binary one, averaged over the C labels; squared error for numbers.
    """
    exits, count, classes = logits.shape
    own = None if weights is None else weights.to(logits.device)
    if kind == "classification":
        flat, gold = logits.reshape(-1, classes), labels.repeat(exits)
        each = F.cross_entropy(flat, gold, weight=own, reduction="none")
        return each.view(exits, count).sum(dim=1)
    if kind == "multi-label":
        gold = labels.to(logits.dtype).expand_as(logits)
        each = F.binary_cross_entropy_with_logits(logits, gold, pos_weight=own, reduction="none")
        return each.sum(dim=(1, 2)) / classes
    return (logits[..., 0] - labels.to(logits.dtype)).square().sum(dim=1)


def score_sum(score: Tensor, logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Return the squared error of learned scores (R, B) before their sigmoid, summed over ramps and rows.

    A score learns to be 1 where its ramp, with logits (R, B, C), is right and 0 where it is wrong; for numbers it is
    1 - tanh of the error's size (BERxiT's learning to exit, which has one less these).
    """
    with torch.no_grad():
        if kind == "classification":
            right = (logits.argmax(dim=-1) == labels).to(score.dtype)
        elif kind == "multi-label":
            right = ((logits > 0) == (labels > 0)).all(dim=-1).to(score.dtype)
        else:
            right = 1 - torch.tanh((logits[..., 0] - labels.to(logits.dtype)).abs())
    return (torch.sigmoid(score) - right).square().sum()


class Numbered:
    """Batches with the number of their step in each micro-batch: a pure function of the place, so that it resumes."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    @property
    def steps_per_epoch(self) -> int | None:
        """Return the steps of one pass over the data."""
        return self._batches.steps_per_epoch

    def rows(self, place: Place) -> int:
        """Return how many rows the step at a place takes."""
        return self._batches.rows(place)

    def step(self, place: Place, rank: int, world: int) -> MicroBatches:
        """Return a rank's micro-batches of a step, each with ``step``."""
        return [{**batch, "step": place.step} for batch in self._batches.step(place, rank, world)]

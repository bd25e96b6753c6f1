"""Losses: ``loss(model, batch)`` gives a sum, a count and named parts. Shapes: B batch, M predictions, C classes.

A batch is a mapping with ``ids``, ``mask`` and ``segments`` (both may be ``None``), ``labels`` and ``count``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Numbers of a piece of the logits in fp32: on a CPU (True) a piece has to fit its cache.
_AT_ONCE = {True: 1 << 21, False: 1 << 27}


@dataclass(frozen=True)
class LossSum:
    """A sum over ``count`` labels, not a mean: the loop divides by the count of the whole step."""

    total: Tensor
    count: int
    parts: Mapping[str, float] = field(default_factory=dict)


Loss = Callable[[nn.Module, Mapping[str, Any]], LossSum]


def masked_lm_loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Cross entropy in fp32 over the chosen positions; ``labels`` (M,), ``positions`` (M,) flat into B*T."""
    logits = model(batch["ids"], mask=batch["mask"], segments=batch["segments"], positions=batch["positions"])
    return LossSum(cross_entropy_sum(logits, batch["labels"]), batch["count"])


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross entropy, in fp32, of logits (M, V) of any type and labels (M,).

    A whole vocabulary in fp32, three times over, is more memory than all the rest of a small encoder's step: this goes
    through a few rows at a time and makes the gradient, in the logits' own type, on the way.
    """
    if not logits.requires_grad:
        return F.cross_entropy(logits.float(), labels, reduction="sum")
    total: Tensor = _CrossEntropySum.apply(logits, labels)  # type: ignore[no-untyped-call]
    return total


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        gradient, total = torch.empty_like(logits), torch.zeros((), device=logits.device)
        rows = max(1, _AT_ONCE[logits.device.type == "cpu"] // logits.shape[1])
        for start in range(0, len(labels), rows):
            scores = logits[start : start + rows].to(torch.float32, copy=True)  # it is changed in place
            own = labels[start : start + rows, None]
            highest, chosen = scores.amax(-1, keepdim=True), scores.gather(1, own)
            scores.sub_(highest).exp_()
            sums = scores.sum(-1, keepdim=True)
            total += (sums.log() + highest - chosen).sum()
            # The gradient of a row is its probabilities, less one at the label.
            scores.div_(sums).scatter_add_(1, own, torch.full_like(chosen, -1.0))
            gradient[start : start + rows] = scores
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer.to(gradient.dtype), None


def classification_loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Cross entropy in fp32; ``labels`` (B,) are class numbers."""
    logits = _logits(model, batch)
    return LossSum(F.cross_entropy(logits, batch["labels"], reduction="sum"), batch["count"])


def multi_label_loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Binary cross entropy in fp32, averaged over the C labels of a row; ``labels`` (B, C) are 0 or 1."""
    logits = _logits(model, batch)
    total = F.binary_cross_entropy_with_logits(logits, batch["labels"].float(), reduction="sum")
    return LossSum(total / logits.shape[-1], batch["count"])


def regression_loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Squared error in fp32; ``labels`` (B,) are numbers."""
    found = _logits(model, batch).squeeze(-1)
    return LossSum(F.mse_loss(found, batch["labels"].float(), reduction="sum"), batch["count"])


def _logits(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    logits: Tensor = model(batch["ids"], mask=batch["mask"], segments=batch["segments"])
    return logits.float()


LOSSES: dict[str, Loss] = {
    "masked-lm": masked_lm_loss,
    "classification": classification_loss,
    "multi-label": multi_label_loss,
    "regression": regression_loss,
}

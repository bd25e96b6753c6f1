"""Losses: ``loss(model, batch)`` gives a sum and a count. Shapes: B batch, M predictions, C classes.

A batch is a mapping with ``ids``, ``mask`` and ``segments`` (both may be ``None``), ``labels`` and ``count``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PART = 64  # rows of a vocabulary in fp32 at once


@dataclass(frozen=True)
class LossSum:
    """A sum over ``count`` labels, not a mean: the loop divides by the sum of a step's counts."""

    total: Tensor
    count: int


Loss = Callable[[nn.Module, Mapping[str, Any]], LossSum]


def masked_lm_loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Cross entropy in fp32 over the chosen positions; ``labels`` (M,), ``positions`` (M,) flat into B*T."""
    positions = _rounded_up(batch["positions"])
    logits = model(batch["ids"], mask=batch["mask"], segments=batch["segments"], positions=positions)
    return LossSum(cross_entropy_sum(logits, batch["labels"]), batch["count"])


def _rounded_up(positions: Tensor) -> Tensor:
    """Return positions (M,) with the first token's behind them, up to a number that many batches share.

    How many tokens are masked differs from batch to batch, and logits are the largest tensors of a step: a heap that is
    asked for another size each time crumbles, and holds twice the memory in the end. At most a sixteenth more is cheap.
    """
    count = len(positions)
    step = max(8, (1 << count.bit_length()) // 32)
    return F.pad(positions, (0, -count % step))


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross entropy of labels (M,) and the first M logits (N, V), N >= M; others count for nothing.

    Exact for fp32, to three digits for bf16. A whole vocabulary in fp32, three times over, is more memory than all the
    rest of a small encoder's step: the gradient is one softmax, in fp32 inside and in the logits' own type outside, and
    the loss is read off it.
    """
    if not (logits.requires_grad and torch.is_grad_enabled()):
        count = len(labels)
        parts = [slice(start, min(start + _PART, count)) for start in range(0, max(1, count), _PART)]
        sums = [F.cross_entropy(logits[part].float(), labels[part], reduction="sum") for part in parts]
        return torch.stack(sums).sum()
    total: Tensor = _CrossEntropySum.apply(logits, labels)  # type: ignore[no-untyped-call]
    return total


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        count = len(labels)
        rows = torch.arange(count, device=labels.device)
        probabilities = logits.softmax(-1)
        # log sum exp by the largest entry, whose probability is at least 1/V: nothing underflows.
        normalizers = logits.amax(-1).float() - probabilities.amax(-1).float().log()
        total = (normalizers[:count] - logits[rows, labels].float()).sum()
        # The gradient of a row is its probabilities, less one at the label.
        probabilities[rows, labels] -= 1.0
        probabilities[count:] = 0.0
        ctx.save_for_backward(probabilities)
        return total

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        # On a CPU a look at the number is free, and the product with one a fortieth of a small encoder's step.
        free = outer.device.type == "cpu" and float(outer) == 1.0
        return gradient if free else gradient * outer.to(gradient.dtype), None


def classification_loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Cross entropy in fp32; ``labels`` (B,) are class numbers."""
    logits = _logits(model, batch)
    return LossSum(F.cross_entropy(logits, batch["labels"], reduction="sum"), batch["count"])


def multi_label_loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Binary cross entropy in fp32, averaged over the C labels of a row; ``labels`` (B, C) are 0 or 1."""
    logits = _logits(model, batch)
    total = F.binary_cross_entropy_with_logits(logits, batch["labels"].float(), reduction="sum")
    return LossSum(total / logits.shape[-1], batch["count"])


def weighted_classification_loss(weights: Tensor) -> Loss:
    """Return the cross entropy whose rows count by their label's weight, (C,). The count stays that of the rows."""

    def loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
        logits = _logits(model, batch)
        own = weights.to(logits.device)
        return LossSum(F.cross_entropy(logits, batch["labels"], weight=own, reduction="sum"), batch["count"])

    return loss


def weighted_multi_label_loss(weights: Tensor) -> Loss:
    """Return the binary cross entropy in which having a label counts by its weight, (C,), and lacking it by one."""

    def loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
        logits = _logits(model, batch)
        total = F.binary_cross_entropy_with_logits(
            logits, batch["labels"].float(), pos_weight=weights.to(logits.device), reduction="sum"
        )
        return LossSum(total / logits.shape[-1], batch["count"])

    return loss


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
WEIGHTED_LOSSES: dict[str, Callable[[Tensor], Loss]] = {
    "classification": weighted_classification_loss,
    "multi-label": weighted_multi_label_loss,
}

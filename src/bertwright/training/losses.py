"""Losses: ``loss(model, batch)`` gives a sum, a count and named parts. Shapes: B batch, M predictions, C classes.

A batch is a mapping with ``ids``, ``mask`` and ``segments`` (both may be ``None``), ``labels`` and ``count``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


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
    return LossSum(F.cross_entropy(logits.float(), batch["labels"], reduction="sum"), batch["count"])


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

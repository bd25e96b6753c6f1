"""Dropout whose random bits are cheap on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A draw has 15 bits: rates are multiples of 1/32,768.
_DRAWS = 1 << 15


def dropout(x: Tensor, rate: float) -> Tensor:
    """Set a share ``rate`` of all numbers to zero, and divide the others by ``1 - rate``; any shape.

    On a CPU PyTorch draws one number an element, which is a fifth of a training step in bf16. Here four elements share
    a word of 64 random bits from the same generator, so that a seed or a restored generator gives the same zeros again.
    """
    least = round(rate * _DRAWS)
    if x.device.type != "cpu" or torch.compiler.is_compiling() or least == _DRAWS:
        return F.dropout(x, rate)  # a rate of 1 is more than any draw, and there is nothing left to divide by
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_()
    # A word's highest bit is always 0, so each quarter gives its lower 15.
    draws = words.view(torch.int16)[: x.numel()].bitwise_and_(_DRAWS - 1)
    kept = torch.empty_like(draws, dtype=x.dtype)
    torch.ge(draws, least, out=kept)
    return x * kept.div_(1 - rate).view(x.shape)


class Dropout(nn.Module):
    """``dropout`` in training, nothing otherwise."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return x with some of its numbers set to zero."""
        return dropout(x, self.rate) if self.training and self.rate else x

"""Attention by PyTorch's flex kernel, for training on a GPU: tokens that may not see each other cost next to nothing.

What may be seen is told in blocks of tokens: those where none sees any are left out, so the cost follows the length of
documents and windows and not that of the row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


def block_mask(mask: Tensor | None, length: int, window: int | None, device: torch.device) -> BlockMask | None:
    """Return what may be seen in rows of ``length`` tokens; ``None`` if all may.

    ``mask`` (B, T) is as in ``Encoder.context``; ``window`` counts the tokens around each that it sees, half of them on
    either side.
    """
    near = window is not None and length > window // 2 + 1
    if mask is None and not near:
        return None
    reach = window // 2 if window is not None else length
    documents = None if mask is None else mask if mask.dtype != torch.bool else mask.int() - 1

    def seen(row: Tensor, _head: Tensor, one: Tensor, other: Tensor) -> Tensor:
        found = (one - other).abs() <= reach
        if documents is not None:
            of_other = documents[row, other]
            real_alone = mask is not None and mask.dtype == torch.bool
            found = found & (of_other >= 0) & (real_alone or documents[row, one] == of_other)
        return found

    rows = None if mask is None else mask.shape[0]
    found: BlockMask = _kernel(create_block_mask, device.type)(seen, rows, None, length, length, device=device)
    return found


def attend(query: Tensor, key: Tensor, value: Tensor, blocks: BlockMask | None) -> Tensor:
    """Mix values by the products of queries and keys, all (B, A, T, D)."""
    mixed: Tensor = _kernel(flex_attention, query.device.type)(query, key, value, block_mask=blocks)
    return mixed


@lru_cache(maxsize=4)
def _kernel(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Return a function compiled for a GPU; elsewhere it is what it is, slow and good for comparisons."""
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False) if device == "cuda" else function
    return compiled

"""The bricks of a block: attention in three forms, and feed-forward layers.

Shapes: B batch, T positions, H width, A heads, D head width, F inner width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from bertwright.encoder.dropout import Dropout
from bertwright.encoder.dropout import dropout as drop
from bertwright.encoder.flex import attend


@dataclass(frozen=True)
class Context:
    """What every block of one forward pass shares, made once.

    ``bias`` and ``local_bias`` are added to attention scores, (B or 1, 1, T or 1, T): 0 where a token may be seen and
    the least number elsewhere; ``None`` where all may. Attention by flex has ``blocks`` and ``local_blocks`` instead.
    ``rotation`` and ``local_rotation`` are RoPE's cosines and sines, each (T, D); ``None`` where positions are a table.
    """

    bias: Tensor | None = None
    local_bias: Tensor | None = None
    rotation: tuple[Tensor, Tensor] | None = None
    local_rotation: tuple[Tensor, Tensor] | None = None
    blocks: BlockMask | None = None
    local_blocks: BlockMask | None = None

    def rows(self, keep: Tensor) -> Context:
        """Return the context of some rows of the batch; ``keep`` holds their numbers, (K,). Not for flex."""

        def of(bias: Tensor | None) -> Tensor | None:
            return bias if bias is None or bias.shape[0] == 1 else bias[keep]

        return replace(self, bias=of(self.bias), local_bias=of(self.local_bias))


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for query, key and value.

    ``form`` is "matmul" (two products around a softmax; fastest forward and backward on a CPU), "sdpa" (the fused
    kernel; fastest on a GPU) or "flex" (which skips what may not be seen; for training on a GPU, without dropout). All
    give the same numbers up to rounding.
    """

    def __init__(self, *, width: int, heads: int, dropout: float, local: bool) -> None:
        super().__init__()
        self.heads = heads
        self.local = local
        self.form = "matmul"
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Mix the tokens of each row: (B, T, H) to (B, T, H)."""
        out: Tensor = self.output(self.mix(x, context))
        return out

    def mix(self, x: Tensor, context: Context) -> Tensor:
        """Return what the output matrix is given, (B, T, H): the heads' means of values, side by side."""
        batch, length, width = x.shape
        # (3, B, A, T, D): the products below then run over the last two axes.
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        bias = context.local_bias if self.local else context.bias
        rotation = context.local_rotation if self.local else context.rotation
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        dropout = self.dropout if self.training else 0.0
        if self.form == "flex":
            mixed = attend(query, key, value, context.local_blocks if self.local else context.blocks)
        elif self.form == "sdpa":
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        else:
            scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
            weights = (scores if bias is None else scores + bias).softmax(dim=-1)
            mixed = torch.matmul(drop(weights, dropout) if dropout else weights, value)
        return mixed.transpose(1, 2).reshape(batch, length, width)


class FeedForward(nn.Module):
    """Two matrices around an exact (erf) GELU: (B, T, H) to (B, T, H) by way of F."""

    def __init__(self, *, width: int, inner: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token alone."""
        out: Tensor = self.outer(self.widen(x))
        return out

    def widen(self, x: Tensor) -> Tensor:
        """Return what the outer matrix is given, (B, T, F)."""
        return F.gelu(self.inner(x))


class GatedFeedForward(nn.Module):
    """GeGLU: one matrix gives F values and F gates, a second brings them back."""

    def __init__(self, *, width: int, inner: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 2 * inner)
        self.outer = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token alone."""
        out: Tensor = self.outer(self.widen(x))
        return out

    def widen(self, x: Tensor) -> Tensor:
        """Return what the outer matrix is given, (B, T, F)."""
        value, gate = self.inner(x).chunk(2, dim=-1)
        widened: Tensor = F.gelu(value) * gate
        return widened


class Block(nn.Module):
    """One layer: attention and feed-forward, each with a residual, normalised before (pre-LN) or after (post-LN)."""

    def __init__(
        self,
        *,
        attention: Attention,
        attention_norm: nn.Module,
        feed_forward: nn.Module,
        feed_forward_norm: nn.Module,
        dropout: float,
        pre_norm: bool,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = attention_norm
        self.feed_forward = feed_forward
        self.feed_forward_norm = feed_forward_norm
        self.dropout = Dropout(dropout)
        self.pre_norm = pre_norm

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the next layer's states: (B, T, H) to (B, T, H)."""
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), context))
            out: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
            return out
        x = self.attention_norm(x + self.dropout(self.attention(x, context)))
        normed: Tensor = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return normed


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of a head's numbers by the angle of their position (RoPE): (B, A, T, D) to the same."""
    cosine, sine = rotation
    half = x.shape[-1] // 2
    swapped = torch.cat((x[..., half:], x[..., :half]), dim=-1)
    return torch.addcmul(x * cosine, swapped, sine)


def rotation(length: int, width: int, base: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return RoPE's cosines and sines for ``length`` positions and heads of ``width`` numbers, each (T, D).

    The sines of the first half are negative: so a swap of the halves is all that is left of the turn. They are rounded
    to ``dtype`` here, once, and not brought to fp32 with every query and key.
    """
    frequencies = base ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequencies
    sines = torch.cat((-angles.sin(), angles.sin()), dim=-1)
    return torch.cat((angles.cos(), angles.cos()), dim=-1).to(dtype), sines.to(dtype)


def mask_bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Turn a mask (B, T), as in ``Encoder.context``, into a bias for attention scores, (B, 1, 1, T) or (B, 1, T, T)."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        seen = mask[:, None, None]
    else:
        seen = ((mask[:, :, None] == mask[:, None, :]) & (mask >= 0)[:, None, :])[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=mask.device).masked_fill_(~seen, torch.finfo(dtype).min)


def window_bias(length: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Return the bias (1, 1, T, T) that hides tokens further away than half a window; ``None`` if none is."""
    reach = window // 2
    if length <= reach + 1:
        return None
    place = torch.arange(length, device=device)
    far = (place[:, None] - place[None, :]).abs() > reach
    return torch.zeros(far.shape, dtype=dtype, device=device).masked_fill_(far, torch.finfo(dtype).min)[None, None]

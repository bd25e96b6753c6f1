"""The encoder: embeddings and a stack of blocks, for all families.

A plain loop runs the blocks, so that a caller can look at every layer, stop early or drop rows without hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.dropout import Dropout
from bertwright.encoder.flex import block_mask
from bertwright.encoder.layers import (
    Attention,
    Block,
    Context,
    FeedForward,
    GatedFeedForward,
    mask_bias,
    rotation,
    window_bias,
)


class Embeddings(nn.Module):
    """Word, position and segment tables, added; then a norm where the family has one, and dropout."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.position_rows, config.width) if config.position_rows else None
        self.segments = nn.Embedding(config.segments, config.width) if config.segments else None
        has_norm = config.family != "bert-preln"
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps) if has_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)
        # RoBERTa counts only real tokens, from behind the padding id.
        self.counted_from = config.pad_id if config.family == "roberta" else None

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Embed token ids (B, T), with segment ids (B, T) or all in the first segment: (B, T, H).

        Families with fewer than two segments have nothing to tell apart and do not look at the ids.
        """
        return self.placed(self.words(ids), ids, segments)

    def placed(self, x: Tensor, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Add position and segment to words' own vectors (B, T, H), and normalise: (B, T, H)."""
        if self.positions is not None:
            x = x + self.positions(self._places(ids))
        if self.segments is not None:
            alone = segments is None or self.segments.num_embeddings == 1
            x = x + (self.segments.weight[0] if alone else self.segments(segments))
        out: Tensor = self.dropout(self.norm(x))
        return out

    def _places(self, ids: Tensor) -> Tensor:
        if self.counted_from is None:
            return torch.arange(ids.shape[1], device=ids.device)
        real = ids != self.counted_from
        return real.cumsum(dim=1) * real + self.counted_from


class Encoder(nn.Module):
    """An encoder without a head. Drawn weights come from ``initialise``, not from here."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(_block(config, number) for number in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width, eps=config.norm_eps) if config.pre_norm else nn.Identity()
        self.form = "matmul"
        self.activation_checkpointing = False
        """Whether a training pass keeps only what enters each block, and computes the rest again on the way back."""

    def embed(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Return what enters the first block, (B, T, H), for token ids (B, T)."""
        out: Tensor = self.embeddings(ids, segments)
        return out

    def context(self, length: int, mask: Tensor | None, dtype: torch.dtype, device: torch.device) -> Context:
        """Return what the blocks share in one pass.

        ``mask`` (B, T) is true where a token is real; or it holds the number of each token's document, which sees
        itself alone, and a negative one for padding.
        """
        modern, window = self.config.family == "modern", self.config.local_window
        if self.form == "flex":
            context = Context(blocks=block_mask(mask, length, None, device))
            if modern:
                context = replace(context, local_blocks=block_mask(mask, length, window, device))
        else:
            bias = mask_bias(mask, dtype)
            near = window_bias(length, window, dtype, device) if modern else None
            local = bias if near is None else near if bias is None else torch.minimum(bias, near)
            context = Context(bias, local)
        if not modern:
            return context
        width, bases = self.config.width // self.config.heads, (self.config.rope_base, self.config.local_rope_base)
        turns = [rotation(length, width, base, dtype, device) for base in bases]
        return replace(context, rotation=turns[0], local_rotation=turns[1])

    def layers(self, x: Tensor, context: Context) -> Iterator[Tensor]:
        """Yield the states after each block, (B, T, H), without the final norm."""
        for block in self.blocks:
            x = block(x, context)
            yield x

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """Encode token ids (B, T): (B, T, H). ``mask`` is as in ``context``; ``None``: all see all."""
        return self.run(self.embed(ids, segments), mask)

    def run(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run all blocks and the final norm on what ``embed`` gave, (B, T, H), to the same shape."""
        context = self.context(x.shape[1], mask, x.dtype, x.device)
        again = self.activation_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, context, use_reentrant=False) if again else block(x, context)
        out: Tensor = self.final_norm(x)
        return out

    def compile_blocks(self) -> None:
        """Compile each block for rows of one length; all blocks of one kind share what is compiled."""
        for block in self.blocks:
            block.compile(dynamic=False)

    def attention_form(self, form: str) -> None:
        """Choose "matmul", "sdpa" or "flex" in every block."""
        self.form = form
        for part in self.modules():
            if isinstance(part, Attention):
                part.form = form


def set_dropout(module: nn.Module, rate: float) -> None:
    """Set every dropout rate in a module, attention's included; pretraining works without dropout."""
    for part in module.modules():
        if isinstance(part, Dropout):
            part.rate = rate
        elif isinstance(part, Attention):
            part.dropout = rate


def _block(config: EncoderConfig, number: int) -> Block:
    modern = config.family == "modern"
    feed_forward = GatedFeedForward if modern else FeedForward
    # The modern family normalises the embeddings, so its first block has no norm before attention.
    bare = modern and number == 0
    return Block(
        attention=Attention(
            width=config.width,
            heads=config.heads,
            dropout=config.attention_dropout,
            local=modern and number % config.global_every != 0,
        ),
        attention_norm=nn.Identity() if bare else nn.LayerNorm(config.width, eps=config.norm_eps),
        feed_forward=feed_forward(width=config.width, inner=config.inner),
        feed_forward_norm=nn.LayerNorm(config.width, eps=config.norm_eps),
        dropout=config.dropout,
        pre_norm=config.pre_norm,
    )

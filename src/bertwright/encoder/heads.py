"""Heads: masked words, and the answers of a task. Shapes: M chosen rows, H width, V vocabulary, C classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.dropout import Dropout

# The activation behind a classification head's dense layer, as each family's ordinary class has it.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "bert": torch.tanh,
    "bert-preln": torch.tanh,
    "roberta": torch.tanh,
    "distilbert": F.relu,
    "modern": F.gelu,
}


class MaskedLMHead(nn.Module):
    """Dense, GELU, norm, then the word embeddings as the output matrix, with a bias of its own."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Return logits (M, V) of states (M, H); ``words`` is the embedding table (V, H)."""
        return F.linear(self.norm(F.gelu(self.dense(x))), words, self.bias)


class ClassificationHead(nn.Module):
    """Dense and activation on the first token (BERT's pooler), a norm where the family has one, then a linear layer."""

    def __init__(self, config: EncoderConfig, classes: int) -> None:
        super().__init__()
        self.family = config.family
        self.pooling = config.pooling
        self.dense = nn.Linear(config.width, config.width)
        modern = config.family == "modern"
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps) if modern else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.width, classes)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits (B, C) of an encoder's states (B, T, H)."""
        out: Tensor = self.output(self.dropout(self.features(states, mask)))
        return out

    def features(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the last layer answers from, (B, H), for an encoder's states (B, T, H)."""
        pooled = pooled_rows(states, mask, self.pooling)
        if self.family == "roberta":
            pooled = self.dropout(pooled)
        out: Tensor = self.norm(ACTIVATIONS[self.family](self.dense(pooled)))
        return out


def pooled_rows(states: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """Return what a head sees of states (B, T, H), (B, H): the first token's, or with "mean" the real tokens' mean."""
    if pooling == "cls":
        return states[:, 0]
    if mask is None:
        return states.mean(dim=1)
    weights = mask.to(states.dtype)[:, :, None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1)

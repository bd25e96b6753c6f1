"""An encoder with its head: the two models that are trained, and how fresh ones are drawn."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.heads import ClassificationHead, MaskedLMHead
from bertwright.encoder.stack import Encoder
from bertwright.errors import InputError

M = TypeVar("M", bound=nn.Module)

_DEVIATION = 0.02


class MaskedLM(nn.Module):
    """An encoder that predicts masked words. A pooler that came with the encoder is kept beside, untouched."""

    def __init__(self, encoder: Encoder, head: MaskedLMHead, pooler: nn.Linear | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.pooler = pooler
        if pooler is not None:
            pooler.requires_grad_(False)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        segments: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return logits (M, V) at flat ``positions`` into the B*T tokens, or at all of them, (B*T, V)."""
        states = self.encoder(ids, mask, segments)
        states = states.reshape(-1, states.shape[-1])
        if positions is not None:
            states = states.index_select(0, positions)
        out: Tensor = self.head(states, self.encoder.embeddings.words.weight)
        return out


class Classifier(nn.Module):
    """An encoder that answers a task: classes, labels or one number."""

    def __init__(self, encoder: Encoder, head: ClassificationHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """Return logits (B, C) for token ids (B, T)."""
        out: Tensor = self.head(self.encoder(ids, mask, segments), mask)
        return out


def build_masked_lm(config: EncoderConfig, *, seed: int) -> MaskedLM:
    """Return an untrained masked language model."""
    return initialise(MaskedLM(empty(Encoder, config), empty(MaskedLMHead, config)), seed=seed)


def build_classifier(
    config: EncoderConfig,
    classes: int,
    *,
    seed: int,
    encoder: Encoder | None = None,
    pooler: nn.Linear | None = None,
    masked_lm_head: MaskedLMHead | None = None,
    before: ClassificationHead | None = None,
) -> Classifier:
    """Return a classifier on an encoder (or an untrained one); its head is fresh but for what the ordinary class keeps.

    BERT's classifiers start from the pooler, ModernBERT's from the dense layer and norm of the masked-word head. The
    head of a task learnt ``before`` gives all but its last layer (Phang et al. 2018).
    """
    head = initialise(empty(ClassificationHead, config, classes), seed=seed)
    learnt = before or (masked_lm_head if config.family == "modern" else None)
    if learnt is not None:
        head.dense.load_state_dict(learnt.dense.state_dict())
        head.norm.load_state_dict(learnt.norm.state_dict())
    elif pooler is not None:
        head.dense.load_state_dict(pooler.state_dict())
    return Classifier(encoder or initialise(empty(Encoder, config), seed=seed), head)


def cut_config(config: EncoderConfig, depth: int | None) -> EncoderConfig:
    """Return the shape of the lowest ``depth`` blocks; ``InputError`` where there are fewer."""
    if depth is not None and depth > config.layers:
        raise InputError(f"`depth` is {depth}, and the encoder has {config.layers} layers; give at most so many")
    return config if depth is None else replace(config, layers=depth)


def first_layers(encoder: Encoder, count: int) -> Encoder:
    """Return an encoder of the lowest ``count`` blocks alone, with embeddings and final norm; the numbers are copied.

    It is what an early exit is held against: as much work for every row.
    """
    cut = empty(Encoder, cut_config(encoder.config, count))
    wanted = cut.state_dict().keys()
    cut.load_state_dict({name: value for name, value in encoder.state_dict().items() if name in wanted})
    return cut


def initialise(module: M, *, seed: int) -> M:
    """Draw all weights of a module; the same seed gives the same weights, whatever else was drawn before.

    | parameter                                        | distribution                |
    |--------------------------------------------------|-----------------------------|
    | matrices and embedding tables                    | N(0, 0.02)                  |
    | pre-LN: matrices that write to the residual      | N(0, 0.02 / sqrt(2 layers)) |
    | biases                                           | 0                           |
    | norm gains                                       | 1                           |

    Each matrix has a generator of its own, seeded by the seed and the matrix's name.
    """
    config = getattr(module, "config", None) or getattr(getattr(module, "encoder", None), "config", None)
    residual = _DEVIATION / math.sqrt(2 * config.layers) if config is not None and config.pre_norm else _DEVIATION
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                # An encoder's matrices are drawn alike whether it stands alone or inside a model.
                key = f"{seed}/{name.removeprefix('encoder.')}"
                generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) + (seed << 32))
                writes = name.endswith(("attention.output.weight", "feed_forward.outer.weight"))
                parameter.normal_(0.0, residual if writes else _DEVIATION, generator=generator)
    return module


def empty(kind: type[M], *arguments: object) -> M:
    """Build a module whose parameters hold no values yet: each has to be drawn or read.

    PyTorch's own initial weights would be thrown away, and drawing them would move the global generator.
    """
    return on_meta(kind, *arguments).to_empty(device="cpu")


def on_meta(kind: type[M], *arguments: object) -> M:
    """Build a module of shapes alone: it has no memory until ``to_empty``."""
    with torch.device("meta"):
        return kind(*arguments)

"""Zero biases for encoders that have none, so that biases can be trained: nothing else changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SWITCHES = ("norm_bias", "attention_bias", "mlp_bias", "decoder_bias", "classifier_bias")
"""Settings of the modern family that say whether there are biases; other families always have them."""
_TABLES = ("tok_embeddings.weight", "decoder.weight")


def with_biases(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor], int]:
    """Return a folder's settings with the switches on, its tensors with zeros for missing biases, and how many.

    A model computes the same with them. Folders of other families come back as they are.
    """
    if settings.get("model_type") != "modernbert":
        return dict(settings), dict(tensors), 0
    added = {}
    for name, weight in tensors.items():
        bias = f"{name.removesuffix('weight')}bias"
        if name.endswith(".weight") and weight.ndim and not name.endswith(_TABLES) and bias not in tensors:
            added[bias] = torch.zeros(weight.shape[0])
    predicts_words = "head.dense.weight" in tensors and "classifier.weight" not in tensors
    words = tensors.get("model.embeddings.tok_embeddings.weight")
    if predicts_words and words is not None and words.ndim and "decoder.bias" not in tensors:
        added["decoder.bias"] = torch.zeros(words.shape[0])
    return {**settings, **dict.fromkeys(SWITCHES, True)}, {**tensors, **added}, len(added)

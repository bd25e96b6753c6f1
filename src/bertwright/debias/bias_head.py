"""A bias head on the same encoder, which reads part of the input and never moves the encoder.

Shapes: B rows, H width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bertwright.encoder.dropout import Dropout
from bertwright.encoder.models import Classifier


class BiasHead(nn.Module):
    """Dropout, then H, H, H/2, H/4 and C numbers with tanh between (Karimi Mahabadi et al. 2020, robust-nli)."""

    def __init__(self, width: int, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        sizes = [width, width, width // 2, width // 4]
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, [*sizes[1:], classes], strict=True))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, C) of pooled features (B, H)."""
        x = self.dropout(features)
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class WithBiasHead(nn.Module):
    """A classifier and its bias head while they learn; ``Classifier(model.encoder, model.head)`` is what is kept."""

    def __init__(self, model: Classifier, bias_head: BiasHead) -> None:
        super().__init__()
        self.encoder, self.head, self.bias_head = model.encoder, model.head, bias_head

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """Return the classifier's logits (B, C) for token ids (B, T)."""
        out: Tensor = self.head(self.encoder(ids, mask, segments), mask)
        return out

    def bias_logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the bias head's logits (B, C) for ``bias_ids``, ``bias_mask`` and ``bias_segments`` of a batch.

        The pass through the encoder keeps no graph: nothing flows back there, and nothing is stored for it.
        """
        mask = batch["bias_mask"]
        with torch.no_grad():
            features = self.head.features(self.encoder(batch["bias_ids"], mask, batch["bias_segments"]), mask)
        out: Tensor = self.bias_head(features)
        return out

"""An encoder in which every row of a batch has biases of its own; the weights are another encoder's, not copies.

Shapes: B batch, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertwright.encoder.stack import Encoder


class RowLinear(nn.Module):
    """A linear layer: (B, T, in) to (B, T, out). ``bias`` is (B, 1, out) and set before each pass."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.register_buffer("bias", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token, with its row's bias."""
        return F.linear(x, self.weight).add_(_given(self.bias))


class RowNorm(nn.Module):
    """A layer norm of (B, T, H). ``bias`` is (B, 1, H) and set before each pass."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps
        self.register_buffer("bias", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each token, and add its row's bias."""
        return F.layer_norm(x, self.weight.shape, self.weight, None, self.eps).add_(_given(self.bias))


def _given(bias: Tensor | None) -> Tensor:
    if bias is None:
        raise RuntimeError("the biases of the rows were not set")
    return bias


class RowEncoder:
    """An encoder's twin that takes a bias for each row: ``forward(ids, mask, segments, biases)``.

    The twin runs the encoder's own code on other linear layers and norms, so that ordinary passes pay nothing for it.
    """

    def __init__(self, encoder: Encoder) -> None:
        with torch.device("meta"):
            self._twin = Encoder(encoder.config).eval()
        self._slots: dict[str, RowLinear | RowNorm] = {}
        for name, module in encoder.named_modules():
            if isinstance(module, nn.Embedding):
                self._twin.get_submodule(name).weight = module.weight
            elif isinstance(module, nn.Linear | nn.LayerNorm):
                twin = RowLinear(module) if isinstance(module, nn.Linear) else RowNorm(module)
                self._twin.set_submodule(name, twin)
                self._slots[f"{name}.bias"] = twin
        self._twin.attention_form(encoder.form)

    def states(
        self, ids: Tensor, mask: Tensor | None, segments: Tensor | None, biases: Tensor, names: Sequence[str]
    ) -> Tensor:
        """Return the states (B, T, H) of token ids (B, T), for inference alone.

        ``biases`` (B, total) holds each row's biases, one behind the other in the order of ``names``, the encoder's
        parameters.
        """
        slots = [self._slots[name] for name in names]
        sizes = [slot.weight.shape[0] for slot in slots]
        for slot, bias in zip(slots, torch.split(biases[:, None], sizes, dim=-1), strict=True):
            slot.bias = bias
        try:
            out: Tensor = self._twin(ids, mask, segments)
            return out
        finally:
            for slot in slots:
                slot.bias = None

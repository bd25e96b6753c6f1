"""An encoder in which every row of a batch has biases of its own; the weights are another encoder's, not copies.

Shapes: B batch, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertwright.encoder.layers import Context
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

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return the residual (B, T, out) with the layer's output added, in one pass less than the ordinary way.

        The product is summed onto residual and bias where it is made, which pays for the biases' own passes.
        """
        out = residual + _given(self.bias)
        out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]), self.weight.t())
        return out


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


class RowBlock(nn.Module):
    """A block of such layers, for inference; what ``Block`` computes, with its sums made by the products."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        # Their linear layers and norms are those above, which the bricks' own types do not tell.
        self.attention: Any = block.attention
        self.attention_norm: Any = block.attention_norm
        self.feed_forward: Any = block.feed_forward
        self.feed_forward_norm: Any = block.feed_forward_norm
        self.pre_norm: bool = block.pre_norm

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the next layer's states: (B, T, H) to (B, T, H)."""
        attention, feed_forward = self.attention, self.feed_forward
        if self.pre_norm:
            x = attention.output.onto(x, attention.mix(self.attention_norm(x), context))
            out: Tensor = feed_forward.outer.onto(x, feed_forward.widen(self.feed_forward_norm(x)))
            return out
        x = self.attention_norm(attention.output.onto(x, attention.mix(x, context)))
        normed: Tensor = self.feed_forward_norm(feed_forward.outer.onto(x, feed_forward.widen(x)))
        return normed


def _given(bias: Tensor | None) -> Tensor:
    if bias is None:
        raise RuntimeError("the biases of the rows were not set")
    return bias


class RowEncoder:
    """An encoder's twin that takes biases for each row.

    The twin runs the encoder's own code on other layers, so that ordinary passes pay nothing for it.
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
        self._twin.blocks = nn.ModuleList(RowBlock(block) for block in self._twin.blocks)
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

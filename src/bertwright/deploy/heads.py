"""Heads and ramps on numpy: what turns pooled states into logits. Shapes: B rows, H width, C classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, expit

Arrays = Mapping[str, np.ndarray]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
_ROOT = np.float32(0.5**0.5)


def _gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * np.float32(0.5) * (1 + erf(x * _ROOT)), dtype=np.float32)


# As `encoder.heads.ACTIVATIONS`, which needs torch.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bert": np.tanh,
    "bert-preln": np.tanh,
    "roberta": np.tanh,
    "distilbert": lambda x: np.maximum(x, 0),
    "modern": _gelu,
}


def standardised(x: np.ndarray, eps: float) -> np.ndarray:
    """Bring the last axis of (..., H) to mean 0 and spread 1."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(eps)))


@dataclass(frozen=True, eq=False)
class Head:
    """A dense layer (absent in ramps that are linear), a norm in the modern family, and the layer of answers.

    Packs that left a dense layer as it came with the encoder share its matrix. ``score`` is a ramp's learned score,
    ``mean`` tells that it sees the mean of all tokens where the family's own head sees the first.
    """

    family: str
    eps: float
    dense: tuple[np.ndarray, np.ndarray] | None
    norm: tuple[np.ndarray, np.ndarray] | None
    output: tuple[np.ndarray, np.ndarray]
    score: tuple[np.ndarray, np.ndarray] | None = None
    mean: bool = False

    def logits(self, pooled: np.ndarray, product: Product) -> tuple[np.ndarray, np.ndarray | None]:
        """Return logits (B, C) of pooled states (B, H), and how sure a scored ramp is to be right, (B,).

        ``product`` multiplies states (B, K) with a linear layer's weight (N, K).
        """
        x = pooled
        if self.dense is not None:
            x = ACTIVATIONS[self.family](product(x, self.dense[0]) + self.dense[1])
        if self.norm is not None:
            gain, bias = self.norm
            x = standardised(x, self.eps) * gain + bias
        logits = x @ self.output[0].T + self.output[1]
        return logits, None if self.score is None else expit(x @ self.score[0] + self.score[1][0])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its tensors by a pack's names."""
        parts = {"dense": self.dense, "norm": self.norm, "output": self.output}
        there = {name: pair for name, pair in parts.items() if pair is not None}
        leaves = {f"{name}.weight": pair[0] for name, pair in there.items()}
        return leaves | {f"{name}.bias": pair[1] for name, pair in there.items()}


def head_of(arrays: Arrays, family: str, eps: float, score: tuple[np.ndarray, np.ndarray] | None = None) -> Head:
    """Return a head of tensors by a pack's names: ``dense.weight``, ``norm.weight``, ``output.weight`` and biases."""

    def both(name: str) -> tuple[np.ndarray, np.ndarray] | None:
        if f"{name}.weight" not in arrays:
            return None
        return arrays[f"{name}.weight"], arrays[f"{name}.bias"]

    output = arrays["output.weight"], arrays["output.bias"]
    return Head(family, eps, both("dense"), both("norm"), output, score)

"""Products with an encoder's matrices, in fp32 or int8. Shapes: B rows, T positions, K in, N out.

int8 is dynamic: a matrix has one step for each output channel, made at export; the states have one step for each
token, measured as it passes. ONNX Runtime's own way has one step for the whole batch, and then a row's answer depends
on the rows beside it; so it is done here by hand, at the price of a few passes over the states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bertwright.deploy.nodes import MICROSOFT, Graph

PRECISIONS = ("fp32", "int8")
# GELU never falls below -0.17: 16 of 255 steps hold that where the largest value is at least 2.55.
_GELU_ZERO, _GELU_LEAST = 16, 2.55
_LEAST = 1e-30


@dataclass(frozen=True)
class Quantized:
    """A matrix (K, N) in int8 and the step of each column, (N,): the product of both is the matrix, nearly."""

    values: np.ndarray
    steps: np.ndarray


def quantized(matrix: np.ndarray, bits: int = 8) -> Quantized:
    """Return a matrix (K, N) in so many bits a number, symmetric around 0, one step for each column."""
    most = 2 ** (bits - 1) - 1
    steps = np.maximum(np.abs(matrix).max(axis=0) / most, np.float32(_LEAST)).astype(np.float32)
    return Quantized(np.rint(matrix / steps).clip(-most, most).astype(np.int8), steps)


@dataclass(frozen=True)
class _Tokens:
    """States in 8 bits: values (B, T, K), what one step of each token is, (B, T, 1), and the constant that means 0."""

    values: str
    steps: str
    zero: str


class Linears:
    """Adds products to a graph; states that enter several products are brought to 8 bits once.

    ``standard`` keeps to operators that every runtime has. ``bits`` are those of a matrix's numbers, 7 where the
    processor's own instructions overflow with 8.
    """

    def __init__(self, graph: Graph, *, precision: str, standard: bool = False, bits: int = 8) -> None:
        self._graph, self._standard, self._bits = graph, standard, bits
        self.precision = precision
        self._tokens: dict[str, _Tokens] = {}

    def product(self, x: str, weight: np.ndarray, *, after_gelu: bool = False) -> str:
        """Multiply states (B, T, K) with a linear layer's weight (N, K), without its bias: (B, T, N)."""
        graph, matrix = self._graph, np.ascontiguousarray(weight.T)
        if self.precision == "fp32":
            return graph.node("MatMul", x, graph.constant(matrix))
        if x not in self._tokens:
            self._tokens[x] = self._in_steps(x, after_gelu, matrix.shape[0])
        tokens, small = self._tokens[x], quantized(matrix, self._bits)
        values, steps = graph.constant(small.values), graph.constant(small.steps)
        if self._standard:
            whole = graph.node("MatMulInteger", tokens.values, values, tokens.zero)
            scaled = graph.node("Mul", graph.node("Cast", whole, to=1), steps)
        else:
            one = graph.constant(np.float32(1))
            scaled = graph.node(
                "MatMulIntegerToFloat", tokens.values, values, one, steps, tokens.zero, domain=MICROSOFT
            )
        return graph.node("Mul", scaled, tokens.steps)

    def _in_steps(self, x: str, after_gelu: bool, width: int) -> _Tokens:
        graph = self._graph
        zero, most = (_GELU_ZERO, 255 - _GELU_ZERO) if after_gelu else (128, 127)
        middle = graph.constant(np.uint8(zero))
        steps = graph.node("Mul", self._largest(x, after_gelu), graph.constant(np.float32(1 / most)))
        if self._standard:
            one = graph.constant(np.float32(1))
            return _Tokens(graph.node("QuantizeLinear", graph.node("Div", x, steps), one, middle), steps, middle)
        # A block is a whole token, so that its step is applied as it is read, and not by a pass before.
        middles = graph.node("Expand", middle, graph.node("Shape", steps))
        values = graph.node("QuantizeLinear", x, steps, middles, axis=-1, block_size=width)
        return _Tokens(values, steps, middle)

    def _largest(self, x: str, after_gelu: bool) -> str:
        """Return what a token's numbers do not exceed, (B, T, 1)."""
        graph, last = self._graph, self._graph.constant(np.array([-1], dtype=np.int64))
        above = graph.node("ReduceMax", x, last, keepdims=1)
        if after_gelu:
            return graph.node("Max", above, graph.constant(np.float32(_GELU_LEAST)))
        # Two readings are cheaper than one of absolute values, which have to be written first.
        below = graph.node("Neg", graph.node("ReduceMin", x, last, keepdims=1))
        return graph.node("Max", above, below, graph.constant(np.float32(_LEAST)))

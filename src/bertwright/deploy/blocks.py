"""The encoder's layers as ONNX nodes, from the names and weights of our own modules.

Shapes: B rows, T positions, H width, F inner width, A heads, D head width. A bias is an input, (B or 1, 1, width).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bertwright.deploy.linears import Linears
from bertwright.deploy.nodes import MICROSOFT, Graph
from bertwright.encoder.config import EncoderConfig

Arrays = Mapping[str, np.ndarray]
_LEAST = np.float32(np.finfo(np.float32).min)


class Blocks:
    """Writes embeddings and blocks into a graph.

    ``arrays`` are the encoder's tensors by the names of its ``state_dict``. ``standard`` keeps to operators that every
    runtime has; else attention is ONNX Runtime's fused one. Graph inputs by name: ``ids`` and ``segments`` (B, T),
    ``mask`` (B, T) 1 where a token is real; for RoPE ``cosine``, ``sine`` and ``local_cosine``, ``local_sine``
    (T, 1, D), and ``window`` (1, 1, T, T), added to scores in local layers.
    """

    def __init__(self, graph: Graph, config: EncoderConfig, arrays: Arrays, *, standard: bool = False) -> None:
        self._graph, self._config, self._arrays, self._standard = graph, config, arrays, standard
        self.hidden = ""
        """What a standard graph adds to scores where a token is padding, (B, 1, 1, T)."""

    def embeddings(self, bias: str | None) -> str:
        """Return what enters the first block, (B, T, H)."""
        graph, config, arrays = self._graph, self._config, self._arrays
        x = graph.node("Gather", graph.constant(arrays["embeddings.words.weight"]), "ids")
        if config.position_rows:
            x = graph.node("Add", x, self._positions())
        if config.segments == 1:
            x = graph.node("Add", x, graph.constant(arrays["embeddings.segments.weight"][0]))
        elif config.segments:
            table = graph.constant(arrays["embeddings.segments.weight"])
            x = graph.node("Add", x, graph.node("Gather", table, "segments"))
        return x if bias is None else self._norm(x, "embeddings.norm", bias)

    def _positions(self) -> str:
        graph, table = self._graph, self._graph.constant(self._arrays["embeddings.positions.weight"])
        one = graph.constant(np.array([1], dtype=np.int64))
        if self._config.family == "roberta":
            pad = graph.constant(np.int64(self._config.pad_id))
            real = graph.node("Cast", graph.node("Not", graph.node("Equal", "ids", pad)), to=7)
            counted = graph.node("Mul", graph.node("CumSum", real, one), real)
            return graph.node("Gather", table, graph.node("Add", counted, pad))
        length = graph.node("Shape", "ids", start=1, end=2)
        zero = graph.constant(np.array([0], dtype=np.int64))
        return graph.node("Slice", table, zero, length, zero)

    def block(self, number: int, x: str, biases: Mapping[str, str], linears: Linears, *, narrow: bool = False) -> str:
        """Return the states after a block, (B, T, H); ``narrow``: of the first token alone, (B, 1, H).

        ``biases`` are named as BitFit's terms are, without their layer; ``qkv`` is the three of them in one.
        """
        graph, arrays, name = self._graph, self._arrays, f"blocks.{number}"
        pre = self._config.pre_norm
        normed = x
        if pre and f"{name}.attention_norm.weight" in arrays:
            normed = self._norm(x, f"{name}.attention_norm", biases["attention-norm"])
        mixed = self._attention(number, normed, biases, linears, narrow)
        stream = self._first(x) if narrow else x
        y = linears.product(mixed, arrays[f"{name}.attention.output.weight"])
        x = self._sum(stream, y, biases["attention-output"])
        if not pre:
            x = self._norm(x, f"{name}.attention_norm", biases["attention-norm"])
        inner = x if not pre else self._norm(x, f"{name}.feed_forward_norm", biases["output-norm"])
        y = linears.product(inner, arrays[f"{name}.feed_forward.inner.weight"])
        y = graph.node("Add", y, biases["intermediate"])
        gated = self._config.family == "modern"
        if gated:
            value, gate = graph.split(y, (self._config.inner,) * 2)
            y = graph.node("Mul", graph.node("Gelu", value), gate)
        else:
            y = graph.node("Gelu", y)
        y = linears.product(y, arrays[f"{name}.feed_forward.outer.weight"], after_gelu=not gated)
        x = self._sum(x, y, biases["output"])
        return x if pre else self._norm(x, f"{name}.feed_forward_norm", biases["output-norm"])

    def _sum(self, stream: str, y: str, bias: str) -> str:
        return self._graph.node("Add", y, self._graph.node("Add", stream, bias))

    def _first(self, x: str) -> str:
        zero, one = (self._graph.constant(np.array([place], dtype=np.int64)) for place in (0, 1))
        return self._graph.node("Slice", x, zero, one, one)

    def _norm(self, x: str, name: str, bias: str) -> str:
        # The operator's own bias is one for all rows; and joined with a sum before it, it is ten times slower.
        gain = self._graph.constant(self._arrays[f"{name}.weight"])
        normed = self._graph.node("LayerNormalization", x, gain, axis=-1, epsilon=self._config.norm_eps)
        return self._graph.node("Add", normed, bias)

    def _attention(self, number: int, x: str, biases: Mapping[str, str], linears: Linears, narrow: bool) -> str:
        graph, width = self._graph, self._config.width
        weight = self._arrays[f"blocks.{number}.attention.qkv.weight"]
        if narrow:
            query = linears.product(self._first(x), weight[:width])
            key, value = graph.split(linears.product(x, weight[width:]), (width, width))
        else:
            query, key, value = graph.split(linears.product(x, weight), (width,) * 3)
        query_bias, key_bias, value_bias = graph.split(biases["qkv"], (width,) * 3)
        query = graph.node("Add", query, query_bias)
        modern, local = self._config.family == "modern", number % self._config.global_every != 0
        if modern:
            # The first token's angle is 0: alone it needs no turn.
            query = query if narrow else self._turned(query, local)
            key = self._turned(graph.node("Add", key, key_bias), local)
        window = "window" if modern and local else ""
        if window and narrow:
            zero, one, two = (graph.constant(np.array([place], dtype=np.int64)) for place in (0, 1, 2))
            window = graph.node("Slice", window, zero, one, two)
        if self._standard:
            mixed = self._plain_attention(query, key, value, window)
        else:
            inputs = (query, key, value, "", "mask", *([window] if window else []))
            mixed = graph.node("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=self._config.heads)
        # Shares of attention add up to 1: the values' bias can wait for them. A key's bias moves all scores of a query
        # alike, which its shares do not show, unless the key is turned by its position.
        return graph.node("Add", mixed, value_bias)

    def _plain_attention(self, query: str, key: str, value: str, window: str) -> str:
        graph, heads, width = self._graph, self._config.heads, self._config.width
        apart = graph.constant(np.array([0, 0, heads, width // heads], dtype=np.int64))

        def parted(x: str, perm: list[int]) -> str:
            return graph.node("Transpose", graph.node("Reshape", x, apart), perm=perm)

        scale = graph.constant(np.float32((width // heads) ** -0.5))
        query = graph.node("Mul", parted(query, [0, 2, 1, 3]), scale)
        scores = graph.node("MatMul", query, parted(key, [0, 2, 3, 1]))
        for added in filter(None, (self.hidden, window)):
            scores = graph.node("Add", scores, added)
        mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), parted(value, [0, 2, 1, 3]))
        together = graph.constant(np.array([0, 0, width], dtype=np.int64))
        return graph.node("Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), together)

    def _turned(self, x: str, local: bool) -> str:
        """Turn pairs of a head's numbers by the angle of their position (RoPE): (B, T, H) to the same."""
        graph, heads, width = self._graph, self._config.heads, self._config.width
        size = width // heads
        x = graph.node("Reshape", x, graph.constant(np.array([0, 0, heads, size], dtype=np.int64)))
        first, second = graph.split(x, (size // 2,) * 2)
        swapped = graph.node("Concat", second, first, axis=-1)
        cosine, sine = ("local_cosine", "local_sine") if local else ("cosine", "sine")
        turned = graph.node("Add", graph.node("Mul", x, cosine), graph.node("Mul", swapped, sine))
        return graph.node("Reshape", turned, graph.constant(np.array([0, 0, width], dtype=np.int64)))

    def hide_padding(self, mask: str) -> None:
        """Have a standard graph leave padding out of attention; ``mask`` (B, T) int64 is 1 where a token is real."""
        graph = self._graph
        axes = graph.constant(np.array([1, 2], dtype=np.int64))
        real = graph.node("Cast", graph.node("Unsqueeze", mask, axes), to=9)
        self.hidden = graph.node("Where", real, graph.constant(np.float32(0)), graph.constant(_LEAST))

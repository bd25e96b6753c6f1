"""A whole model as one ONNX file of the standard's own operators: what other runtimes read.

Shapes: B rows, T positions, H width, D head width, C classes.
"""

from __future__ import annotations

import numpy as np
import onnx

from bertwright.deploy.blocks import Arrays, Blocks
from bertwright.deploy.graphs import Numbers, Source
from bertwright.deploy.layout import in_groups
from bertwright.deploy.linears import Linears
from bertwright.deploy.nodes import Graph
from bertwright.deploy.turns import rotation
from bertwright.encoder.config import EncoderConfig

INPUTS = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "segments"}
_ACTIVATIONS = {"distilbert": "Relu", "modern": "Gelu"}
_LEAST = np.float32(np.finfo(np.float32).min)


def whole_model(source: Source, biases: np.ndarray, head: Arrays, numbers: Numbers) -> onnx.ModelProto:
    """Return one model: ``input_ids``, ``attention_mask`` and, where the family tells parts apart, ``token_type_ids``,
    (B, T) int64, to ``logits`` (B, C).

    ``biases`` are all of the encoder's terms (see ``Layout``), ``head`` the head's tensors by a pack's names.
    """
    graph, config, layout = Graph(), source.config, source.layout
    blocks = Blocks(graph, config, source.arrays, standard=True)
    taken = [name for name in INPUTS if name != "token_type_ids" or config.segments > 1]
    for theirs in taken:
        graph.name(theirs, INPUTS[theirs])
    blocks.hide_padding("mask")
    if config.family == "modern":
        _turns(graph, config)
    place = layout.of("embedding-norm")
    x = blocks.embeddings(None if place is None else graph.constant(biases[place.start : place.stop]))
    for number in range(config.layers):
        start, own = layout.layers([number]).start, {}
        for name, size in in_groups(layout.layer_terms(number)):
            own[name] = graph.constant(biases[start : start + size])
            start += size
        narrow = config.pooling == "cls" and number == config.layers - 1
        linears = Linears(graph, precision=numbers.layers[number], standard=True, bits=numbers.bits)
        x = blocks.block(number, x, own, linears, narrow=narrow)
    if (final := layout.of("final-norm")) is not None:
        x = _normed(graph, x, source.arrays["final_norm.weight"], biases[final.start : final.stop], config)
    graph.name(_head(graph, _pooled(graph, x, config), head, config), "logits")
    inputs = {name: ("int64", ["rows", "length"]) for name in taken}
    return graph.model("model", inputs, {"logits": ["rows", len(head["output.bias"])]})


def _pooled(graph: Graph, x: str, config: EncoderConfig) -> str:
    """Return what the head sees, (B, H)."""
    if config.pooling == "cls":
        return graph.node("Gather", x, graph.constant(np.int64(0)), axis=1)
    axis, last = (graph.constant(np.array([place], dtype=np.int64)) for place in (1, -1))
    weights = graph.node("Unsqueeze", graph.node("Cast", "mask", to=1), last)
    total = graph.node("ReduceSum", graph.node("Mul", x, weights), axis, keepdims=0)
    return graph.node("Div", total, graph.node("ReduceSum", weights, axis, keepdims=0))


def _head(graph: Graph, x: str, head: Arrays, config: EncoderConfig) -> str:
    def linear(x: str, name: str) -> str:
        weight = graph.constant(np.ascontiguousarray(head[f"{name}.weight"].T))
        return graph.node("Add", graph.node("MatMul", x, weight), graph.constant(head[f"{name}.bias"]))

    x = graph.node(_ACTIVATIONS.get(config.family, "Tanh"), linear(x, "dense"))
    if "norm.weight" in head:
        x = _normed(graph, x, head["norm.weight"], head["norm.bias"], config)
    return linear(x, "output")


def _normed(graph: Graph, x: str, gain: np.ndarray, bias: np.ndarray, config: EncoderConfig) -> str:
    given = (graph.constant(gain), graph.constant(bias))
    return graph.node("LayerNormalization", x, *given, axis=-1, epsilon=config.norm_eps)


def _turns(graph: Graph, config: EncoderConfig) -> None:
    """Give the graph RoPE's angles and the local window for the length of its rows."""
    zero, one = (graph.constant(np.array([place], dtype=np.int64)) for place in (0, 1))
    length = graph.node("Shape", "ids", start=1, end=2)
    for prefix, base in (("", config.rope_base), ("local_", config.local_rope_base)):
        for name, table in zip(("cosine", "sine"), _tables(config, base), strict=True):
            graph.name(graph.node("Slice", graph.constant(table), zero, length, zero), f"{prefix}{name}")
    places = graph.node(
        "Range", graph.constant(np.int64(0)), graph.node("Squeeze", length), graph.constant(np.int64(1))
    )
    apart = graph.node("Sub", graph.node("Unsqueeze", places, zero), graph.node("Unsqueeze", places, one))
    far = graph.node("Greater", graph.node("Abs", apart), graph.constant(np.int64(config.local_window // 2)))
    hidden = graph.node("Where", far, graph.constant(_LEAST), graph.constant(np.float32(0)))
    graph.name(graph.node("Unsqueeze", hidden, graph.constant(np.array([0, 1], dtype=np.int64))), "window")


def _tables(config: EncoderConfig, base: float) -> tuple[np.ndarray, np.ndarray]:
    return rotation(config.positions, config.width // config.heads, base)

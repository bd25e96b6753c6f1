"""The parts of a deployed encoder as ONNX models: embeddings, and segments of layers.

Shapes: B rows, T positions, H width, S biases of a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from bertwright.deploy.blocks import Arrays, Blocks
from bertwright.deploy.layout import Layout, in_groups
from bertwright.deploy.linears import Linears
from bertwright.deploy.nodes import BLOCKS_OPSET, Graph
from bertwright.encoder.config import EncoderConfig

FIRST, STATES = "first", "states"


@dataclass(frozen=True)
class Numbers:
    """In which numbers each layer's products are made: "fp32" or "int8", and the bits of a matrix in int8."""

    layers: tuple[str, ...]
    bits: int = 8


@dataclass(frozen=True)
class Source:
    """What graphs are made of: the encoder's shape, its tensors by our own names, and where biases lie."""

    config: EncoderConfig
    arrays: Arrays
    layout: Layout


def embedding_model(source: Source) -> onnx.ModelProto:
    """Return the model of the embeddings: ids and segments (B, T), biases (B or 1, 1, S) to states (B, T, H)."""
    graph = Graph()
    place = source.layout.of("embedding-norm")
    x = Blocks(graph, source.config, source.arrays).embeddings("biases" if place else None)
    graph.name(x, STATES)
    size = place.size if place else 0
    return graph.model("embeddings", _inputs(source.config, size), {STATES: ["rows", "length", source.config.width]})


def layers_model(source: Source, numbers: Sequence[int], precision: Numbers) -> onnx.ModelProto:
    """Return the model of neighbouring layers: states (B, T, H), mask and biases to states and the first token's.

    Where a head reads the first token alone, the last layer works out no other: its states are (B, 1, H).
    """
    graph = Graph(BLOCKS_OPSET)
    return _model(graph, source, _layers(graph, source, numbers, precision), source.layout.layers(numbers).size)


def segments_model(source: Source, cuts: Sequence[Sequence[int]], precision: Numbers) -> onnx.ModelProto:
    """Return all segments in one model, of which a run takes that whose number is ``segment``; ``cuts`` are its layers.

    Segments of one model share its threads, which are awake from one segment to the next.
    """
    graph, outputs = _choice(source, cuts, precision, 0)
    return _model(graph, source, outputs, "biases")


def _model(graph: Graph, source: Source, outputs: Sequence[str], biases: int | str) -> onnx.ModelProto:
    config = source.config
    shapes: dict[str, Sequence[object]] = {STATES: ["rows", "tokens", config.width], FIRST: ["rows", config.width]}
    named = {graph.name(x, name): shape for x, (name, shape) in zip(outputs, shapes.items(), strict=False)}
    return graph.model("layers", _inputs(config, biases), named)


def _choice(
    source: Source, cuts: Sequence[Sequence[int]], precision: Numbers, first: int
) -> tuple[Graph, Sequence[str]]:
    """Return a graph that takes one of some segments, the first of which has this number, and its outputs."""
    if len(cuts) == 1:
        graph = Graph(BLOCKS_OPSET, prefix=f"{first}/")
        return graph, _layers(graph, source, cuts[0], precision)
    half = len(cuts) // 2
    graph = Graph(BLOCKS_OPSET, prefix=f"{first}-{first + len(cuts)}/")
    low, outputs = _choice(source, cuts[:half], precision, first)
    high, others = _choice(source, cuts[half:], precision, first + half)
    lower = graph.node("Less", "segment", graph.constant(np.int64(first + half)))
    branches = {"then_branch": low.body(outputs), "else_branch": high.body(others)}
    return graph, graph.nodes("If", lower, outputs=len(outputs), **branches)


def _layers(graph: Graph, source: Source, numbers: Sequence[int], precision: Numbers) -> Sequence[str]:
    """Add neighbouring layers to a graph; return its outputs: states, and the first token's if a head reads that."""
    config = source.config
    blocks, x = Blocks(graph, config, source.arrays), STATES + "_in"
    first_alone = config.pooling == "cls"
    groups = [in_groups(source.layout.layer_terms(number)) for number in numbers]
    parts = iter(graph.split("biases", [size for one in groups for _, size in one]))
    for number, own in zip(numbers, groups, strict=True):
        biases = {name: next(parts) for name, _ in own}
        narrow = first_alone and number == config.layers - 1
        linears = Linears(graph, precision=precision.layers[number], bits=precision.bits)
        x = blocks.block(number, x, biases, linears, narrow=narrow)
    return [x, graph.node("Gather", x, graph.constant(np.int64(0)), axis=1)] if first_alone else [x]


def product_model() -> onnx.ModelProto:
    """Return the model of a head's product: ``x`` (B, K) with ``weight`` (N, K) to ``y`` (B, N)."""
    graph = Graph()
    graph.name(graph.node("Gemm", "x", "weight", transB=1), "y")
    inputs = {"x": ("float32", ["rows", "in"]), "weight": ("float32", ["out", "in"])}
    return graph.model("product", inputs, {"y": ["rows", "out"]})


def _inputs(config: EncoderConfig, biases: int | str) -> dict[str, tuple[str, Sequence[object]]]:
    """Return the type and shape of every input that a part may have."""
    tokens, size = ["rows", "length"], config.width // config.heads
    turns = ("cosine", "sine", "local_cosine", "local_sine")
    return {
        "ids": ("int64", tokens),
        "segments": ("int64", tokens),
        f"{STATES}_in": ("float32", [*tokens, config.width]),
        "mask": ("int32", tokens),
        "segment": ("int64", []),
        "biases": ("float32", ["packs", 1, biases]),
        **{name: ("float32", ["length", 1, size]) for name in turns},
        "window": ("float32", [1, 1, "length", "length"]),
    }

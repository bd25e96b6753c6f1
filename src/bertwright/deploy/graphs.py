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


def segment_model(source: Source, numbers: Sequence[int], precision: Numbers) -> onnx.ModelProto:
    """Return the model of neighbouring layers: states (B, T, H), mask and biases to states and the first token's.

    Where a head reads the first token alone, the last layer works out no other: it has ``first`` (B, H) only.
    """
    graph, config = Graph(BLOCKS_OPSET), source.config
    blocks, x = Blocks(graph, config, source.arrays), STATES + "_in"
    first_alone, last = config.pooling == "cls", numbers[-1] == config.layers - 1
    groups = [in_groups(source.layout.layer_terms(number)) for number in numbers]
    parts = iter(graph.split("biases", [size for one in groups for _, size in one]))
    for number, own in zip(numbers, groups, strict=True):
        biases = {name: next(parts) for name, _ in own}
        narrow = first_alone and number == config.layers - 1
        linears = Linears(graph, precision=precision.layers[number], bits=precision.bits)
        x = blocks.block(number, x, biases, linears, narrow=narrow)
    outputs: dict[str, Sequence[object]] = {}
    if not (first_alone and last):
        x = graph.name(x, STATES)
        outputs[STATES] = ["rows", "length", config.width]
    if first_alone:
        place = graph.constant(np.int64(0))
        graph.name(graph.node("Gather", x, place, axis=1), FIRST)
        outputs[FIRST] = ["rows", config.width]
    return graph.model("segment", _inputs(config, source.layout.layers(numbers).size), outputs)


def product_model() -> onnx.ModelProto:
    """Return the model of a head's product: ``x`` (B, K) with ``weight`` (N, K) to ``y`` (B, N)."""
    graph = Graph()
    graph.name(graph.node("Gemm", "x", "weight", transB=1), "y")
    inputs = {"x": ("float32", ["rows", "in"]), "weight": ("float32", ["out", "in"])}
    return graph.model("product", inputs, {"y": ["rows", "out"]})


def _inputs(config: EncoderConfig, biases: int) -> dict[str, tuple[str, Sequence[object]]]:
    """Return the type and shape of every input that a part may have."""
    tokens, size = ["rows", "length"], config.width // config.heads
    turns = ("cosine", "sine", "local_cosine", "local_sine")
    return {
        "ids": ("int64", tokens),
        "segments": ("int64", tokens),
        f"{STATES}_in": ("float32", [*tokens, config.width]),
        "mask": ("int32", tokens),
        "biases": ("float32", ["packs", 1, biases]),
        **{name: ("float32", ["length", 1, size]) for name in turns},
        "window": ("float32", [1, 1, "length", "length"]),
    }

"""A pack's ramps made ready to serve: what a file calls ramps is held against the encoder first, tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from bertwright.deploy.heads import Head, head_of
from bertwright.errors import DataError
from bertwright.pack import RAMPS_SEE_THE_MEAN, Pack

# Of at most so many digits that Python makes a number of any.
_RAMP = re.compile(r"(\d{1,9})/(\w+\.(?:weight|bias))")
_SCORE = "score.weight", "score.bias"


def ramps_of(name: str, pack: Pack, *, eps: float, cuts: Collection[int]) -> dict[int, Head]:
    """Return a pack's ramps by the number of layers before them, rising; ``cuts`` are those that rows can leave behind.

    ``DataError`` where a tensor is missing or of another shape than this encoder's ramps have.
    """
    layers, shapes = layers_of(pack), _shapes(pack)
    parts = {layer: _tensors(name, pack, f"{layer}/", shapes) for layer in layers}
    score = None
    if any(key in pack.ramps for key in _SCORE):
        width = shapes["output.weight"][1]
        found = _tensors(name, pack, "", dict(zip(_SCORE, ((width,), (1,)), strict=True)))
        score = found[_SCORE[0]], found[_SCORE[1]]
    for layer in layers:
        if layer not in cuts:
            raise DataError(
                f"pack {name} has a ramp after layer {layer}, and rows can leave this export after layers "
                f"{', '.join(map(str, sorted(cuts)))}; export the encoder with --segment 1"
            )
    mean = RAMPS_SEE_THE_MEAN in pack.ramps
    family = pack.backbone.family
    return {layer: replace(head_of(own, family, eps, score), mean=mean) for layer, own in parts.items()}


def layers_of(pack: Pack) -> list[int]:
    """Return after how many layers a pack's ramps stand, rising."""
    return sorted({int(found[1]) for found in map(_RAMP.fullmatch, pack.ramps) if found})


def _shapes(pack: Pack) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a ramp may have; those of ``output`` it has to have."""
    width, classes = int(pack.backbone.shape["width"]), len(pack.task.labels)
    shapes: dict[str, tuple[int, ...]] = {"output.weight": (classes, width), "output.bias": (classes,)}
    shapes |= {"dense.weight": (width, width), "dense.bias": (width,)}
    return shapes | ({"norm.weight": (width,), "norm.bias": (width,)} if pack.backbone.family == "modern" else {})


def _tensors(name: str, pack: Pack, before: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return the tensors of one ramp, fp32: of weight and bias both or, but for the output and the score, neither."""
    found: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        value = pack.ramps.get(before + key)
        part = key.partition(".")[0]
        there = any(f"{before}{part}.{end}" in pack.ramps for end in ("weight", "bias"))
        if not there and part != "output":
            continue
        if value is None or value.shape != shape:
            told = "is missing" if value is None else f"has the shape {value.shape}"
            raise DataError(
                f"pack {name}: the ramp tensor {before}{key} {told}; expected {shape}; copy the pack once more"
            )
        found[key] = value.astype(np.float32)
    return found

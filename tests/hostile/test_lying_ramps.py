"""Ramps and policies that lie: in a served pack, and in a model's folder that exits are answered with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_exports import TEXTS, Toy, ramped

from bertwright import pack
from bertwright.deploy.runtime import Runtime
from bertwright.errors import BertwrightError


def served(exported: Toy, path: Path, **changes: Any) -> Runtime:
    """Serve a pack with scored ramps after it was changed, and answer with it."""
    made = ramped(exported, "a", "entropy:0.5", scored=True)
    ramps = {**made.ramps, **changes.pop("ramps", {})}
    kept = {name: value for name, value in ramps.items() if value is not None}
    path.write_bytes(pack.to_bytes(replace(made, ramps=kept, **changes)))
    runtime = Runtime(exported.folder, threads=1)
    runtime.add(path, "lying")
    runtime.predict(TEXTS, "lying")
    return runtime


@pytest.mark.parametrize(
    "name", ["1/dense.weight", "1/dense.bias", "2/output.weight", "2/output.bias", "score.weight", "score.bias"]
)
@pytest.mark.parametrize("shape", [(0,), (3,), (3, 16)])
def test_a_ramp_of_another_shape_is_refused_before_it_is_served(
    exported: Toy, tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    """With its name and both shapes, and not when the first text comes."""
    with pytest.raises(BertwrightError, match=rf"the ramp tensor {name} has the shape .* expected .*; copy the pack"):
        served(exported, tmp_path / "lying.pack", ramps={name: np.ones(shape, np.float32)})


@pytest.mark.parametrize("name", ["1/dense.bias", "1/output.weight", "2/output.bias", "score.bias"])
def test_half_of_a_ramps_layer_is_refused(exported: Toy, tmp_path: Path, name: str) -> None:
    """A matrix without its biases, or biases without their matrix."""
    with pytest.raises(BertwrightError, match=rf"the ramp tensor {name} is missing"):
        served(exported, tmp_path / "lying.pack", ramps={name: None})


@pytest.mark.parametrize("name", ["9" * 5000 + "/output.weight", "\u00b2/output.weight"])
def test_a_ramp_of_a_number_that_is_none_is_no_ramp(exported: Toy, tmp_path: Path, name: str) -> None:
    """As any name that is not known."""
    assert (1, 2) == served(exported, tmp_path / "a.pack", ramps={name: np.ones(3, np.float32)}).packs["lying"].ramps


@pytest.mark.parametrize("counts", [5, "abc", [-1, 1, 1], ["a", "b", "c"], [[1], 1, 1], {"a": 1}, [1.5, 1, 1], [0] * 3])
def test_counts_that_are_none_are_no_calibration(exported: Toy, tmp_path: Path, counts: Any) -> None:
    """The pack is served, and no drift is told of it."""
    policy = {"policy": "entropy:0.5", "counts": counts}
    assert {} == served(exported, tmp_path / "a.pack", policy=policy).packs["lying"].calibrated

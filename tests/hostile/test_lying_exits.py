"""Files of a model's folder with early exits that lie: the policy, the ramps, the answers of the calibration rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from toy_exports import Toy, ramped

from bertwright.encoder.packed import fold
from bertwright.errors import BertwrightError, DataError
from bertwright.exits.ramps import from_pack, from_tensors
from bertwright.stages.exiting import Exiting, policy_of, read_calibration, read_choice, read_ramps

ODD_CHOICES = ("", "[" * 100_000, "5", "[]", "{}", '{"policy": 5}', '{"policy": null}')
COUNTS = (None, 5, "abc", [1, 2], [0, 0, 0], ["a", "b", "c"], [[1], 1, 1], {"a": 1})
CALIBRATION = {
    "logits": np.ones((2, 4, 3), np.float32),
    "gold": np.zeros(4, np.int64),
    "layers": np.array([1, 2], np.int64),
}


@pytest.mark.parametrize("content", ODD_CHOICES, ids=range(len(ODD_CHOICES)))
def test_a_choice_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """`exits.json` has to be an object that names a policy."""
    (tmp_path / "exits.json").write_text(content)
    with pytest.raises(DataError, match=r"exits\.json: found .*; expected .*; copy the run's folder once more"):
        read_choice(tmp_path)


def test_a_pack_whose_policy_names_none_has_none(tmp_path: Path) -> None:
    """A pack's header may hold any object there."""
    with pytest.raises(BertwrightError, match="has no calibrated policy"):
        policy_of("tuned", "classification", {"stop": 1}, tmp_path)


@pytest.mark.parametrize("counts", COUNTS, ids=range(len(COUNTS)))
def test_counts_that_fit_no_exits_are_no_calibration(exported: Toy, counts: Any) -> None:
    """The rows are answered, and no drift is told of them."""
    pack = ramped(exported, "a", "entropy:0.5")
    ramps = from_pack(exported.loaded.config, pack.ramps)
    policy = policy_of("tuned", "classification", pack.policy, Path())
    found: Any = None  # the model is not asked for
    made = Exiting(found, ramps, policy, {"policy": policy.text, "counts": counts}, (), found)
    assert made.calibrated is None
    told = Exiting(found, ramps, policy, {"policy": policy.text, "counts": [1, 0, 4]}, (), found)
    assert (1, 0, 4) == told.calibrated


@pytest.mark.parametrize("content", [b"", b"junk", (1 << 60).to_bytes(8, "little") + b"{}"])
def test_ramps_that_are_no_safetensors_are_refused(exported: Toy, tmp_path: Path, content: bytes) -> None:
    """With the name of the file and what to do."""
    (tmp_path / "ramps.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"ramps\.safetensors cannot be read .*; copy the run's folder once more"):
        read_ramps(tmp_path, exported.loaded.config)


@pytest.mark.parametrize("name", ["1/output.bias", "1/output.weight"])
@pytest.mark.parametrize("shape", [(), (3,), (1 << 30,)])
def test_ramps_of_another_shape_are_refused_before_memory_is_asked_for(
    exported: Toy, name: str, shape: tuple[int, ...]
) -> None:
    """A number alone has no length; and a file of biases must not ask for the matrices that would go with them."""
    ramps = dict(ramped(exported, "a", "entropy:0.5").ramps)
    model = fold(exported.loaded, exported.packs["a"], tokenizer=exported.tokenizer.identity())
    tensors = {f"ramps/{key}": model.head.output.weight.new_tensor(value) for key, value in ramps.items()}
    tensors[f"ramps/{name}"] = model.head.output.weight.new_zeros(()).expand(shape)
    with pytest.raises(DataError, match=r"the ramp ramps/1/output\.\w+ has the shape"):
        from_tensors(exported.loaded.config, tensors)


def test_ramps_of_a_number_that_is_none_are_none(exported: Toy) -> None:
    """Python makes no number of 5,000 digits."""
    pack = ramped(exported, "a", "entropy:0.5")
    with pytest.raises(DataError, match="the ramp ramps/9+/output.weight has the shape"):
        from_pack(exported.loaded.config, {**pack.ramps, "9" * 5000 + "/output.weight": np.ones(3, np.float32)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", np.array(1.0)),
        ("layers", np.ones((3, 3, 3))),
        ("layers", np.array([1, np.nan])),
        ("gold", np.array(1)),
        ("gold", np.zeros(3, np.int64)),
        ("logits", np.ones((2, 4, 0), np.float32)),
    ],
)
def test_a_calibration_of_another_shape_is_refused(tmp_path: Path, name: str, value: np.ndarray) -> None:
    """With what to do instead."""
    path = tmp_path / "calibration.safetensors"
    safetensors.numpy.save_file({**CALIBRATION, name: value}, path)
    with pytest.raises(DataError, match=r"calibration\.safetensors cannot be read .*; name labelled rows with --rows"):
        read_calibration(path, "classification")

"""The file of a pack: what was written is read, and every fault is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from toy_packs import TOKENIZER, loaded, toy_pack, toy_task, trained

from bertwright.encoder.packed import make_pack
from bertwright.errors import DataError, InputError
from bertwright.pack import Pack, Score, read, to_bytes, write


@pytest.fixture(scope="module")
def pack() -> Pack:
    """A pack in fp16 with a score, a policy and a ramp."""
    made = toy_pack(
        loaded(),
        dtype="fp16",
        scores=[Score("dev", "accuracy", 0.9, 0, "bf16", "sane")],
        policy={"stop": {"threshold": 0.25}},
        recipe="abc",
    )
    return replace(made, ramps={"0.output.weight": np.ones((3, 16), np.float16)})


def rewritten(pack: Pack, path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> Path:
    """Write a pack's file with its header and tensors changed."""
    content = to_bytes(pack)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["bertwright"])
    tensors = dict(safetensors.numpy.load(content))
    change(header, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {"bertwright": json.dumps(header)}))
    return path


def test_what_was_written_is_read(pack: Pack, tmp_path: Path) -> None:
    """Header and arrays come back as they were, ramps and policy too, and are written to the same bytes."""
    write(tmp_path / "a.pack", pack)
    found = read(tmp_path / "a.pack")
    assert pack.header() == found.header()
    for part in ("biases", "head", "ramps"):
        one, other = getattr(pack, part), getattr(found, part)
        assert list(one) == list(other)
        assert all(np.array_equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)
    assert to_bytes(pack) == to_bytes(found) == (tmp_path / "a.pack").read_bytes()


def test_the_order_of_making_does_not_show() -> None:
    """The same content in another order gives the same bytes."""
    one = toy_pack(loaded())
    shape = dict(reversed(one.backbone.shape.items()))
    biases = dict(reversed(one.biases.items()))
    other = replace(one, backbone=replace(one.backbone, shape=shape), biases=biases)
    assert to_bytes(one) == to_bytes(other)


def test_terms_stand_from_the_lowest_to_the_highest(pack: Pack, tmp_path: Path) -> None:
    """A reader gets layer 2 before the pooler, whatever the file's order."""
    write(tmp_path / "a.pack", pack)
    keys = list(read(tmp_path / "a.pack").biases)
    assert ("embedding-norm", "layers.0.query", "pooler") == (keys[0], keys[1], keys[-1])


def test_counts_are_apart(pack: Pack) -> None:
    """Body, pooler and head are counted apart: 3 layers of 7 x 16 + 24, the embeddings' norm, 16, and 3 x 17."""
    counts = pack.method.counts
    assert (424, 16, 51, 491) == (counts.body, counts.pooler, counts.head, counts.total)


@pytest.mark.parametrize("keep", [0, 4, 200, 0.5, -1])
def test_a_cut_file_is_refused(pack: Pack, tmp_path: Path, keep: float) -> None:
    """Wherever a file was cut off, the message says that it is not whole."""
    content = to_bytes(pack)
    path = tmp_path / "a.pack"
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"a\.pack: not a whole safetensors file .* copy it once more"):
        read(path)


def test_only_packs_that_older_readers_would_misread_have_a_newer_format(pack: Pack) -> None:
    """A reader that does not know of ramps on the mean would let rows leave by the first token, without a word."""
    assert 1 == pack.header()["format"]
    assert 2 == replace(pack, ramps={**pack.ramps, "mean": np.ones(1, np.float16)}).header()["format"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + b"x" * 90, "not a whole safetensors file"),
        (safetensors.numpy.save({"a": np.ones(3, np.float32)}), "no pack of bertwright"),
        (safetensors.numpy.save({"a": np.ones(3)}, {"format": "pt"}), "no pack of bertwright"),
        (safetensors.numpy.save({}, {"bertwright": "[" * 100_000}), "the header is not JSON"),
        (safetensors.numpy.save({}, {"bertwright": '{"format": 1, "policy": ' + '{"a":' * 9_000}), "is not JSON"),
        (safetensors.numpy.save({}, {"bertwright": "{"}), "the header is not JSON"),
        (safetensors.numpy.save({}, {"bertwright": "3"}), "the header cannot be read"),
        (safetensors.numpy.save({}, {"bertwright": "{}"}), "the header cannot be read: format"),
        (safetensors.numpy.save({}, {"bertwright": '{"format": 3}'}), "format 3, .* reads up to 2; install a newer"),
        (safetensors.numpy.save({}, {"bertwright": "x" * (5 << 20)}), "a header of 5,242,.* bytes"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """A foreign file, a header too deep, too long or too new: the message says which."""
    (tmp_path / "a.pack").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "a.pack")


def test_a_file_too_large_is_not_opened(tmp_path: Path) -> None:
    """A gigabyte is refused by its size alone."""
    with (tmp_path / "a.pack").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(DataError, match=r"found 1,074 MB, and a pack has at most 268"):
        read(tmp_path / "a.pack")


def test_a_pack_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """No file and a folder are told apart."""
    with pytest.raises(InputError, match="is not there"):
        read(tmp_path / "a.pack")
    with pytest.raises(InputError, match="is no file"):
        read(tmp_path)


def edit(*keys: str, value: Any) -> Callable[..., None]:
    """Return a change of one value of the header."""

    def change(header: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def tensor(name: str, value: np.ndarray | None) -> Callable[..., None]:
    """Return a change of one tensor; ``None`` takes it away."""

    def change(_: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors.pop(name, None)
        if value is not None:
            tensors[name] = value

    return change


HALF = np.float16
NAN = np.array([np.nan] * 16, HALF)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tensor("bias/layers.3.query", np.ones(16, HALF)), r"bias/layers\.3\.query; its bert encoder of 3 layers"),
        (tensor("bias/layers.0.gate", np.ones(16, HALF)), r"bias/layers\.0\.gate"),
        (tensor("bias/final-norm", np.ones(16, HALF)), "no such term"),
        (tensor("bias/layers.0.query", np.ones(17, HALF)), r"has shape \(17,\), expected \(16,\)"),
        (tensor("bias/layers.0.query", np.ones((1, 16), HALF)), r"has shape \(1, 16\)"),
        (tensor("bias/layers.0.query", np.ones(16, np.float32)), "stored as F32, not as fp16"),
        (tensor("bias/layers.0.query", NAN), "bias/layers.0.query holds a number that is not finite"),
        (tensor("ramps/0.output.weight", NAN), "ramps/0.output.weight holds"),
        (tensor("bias/layers.0.query", None), "method.counts says"),
        (tensor("head/output.weight", None), "head/output.weight is missing"),
        (tensor("head/output.weight", np.ones((4, 16), HALF)), r"\(4, 16\), expected \(3, 16\) for 3 labels"),
        (tensor("head/dense.bias", np.ones(16, HALF)), "head/dense.bias, which this pack's head does not have"),
        (tensor("head/norm.weight", np.ones(16, HALF)), "head/norm.weight, which this pack's head does not have"),
        (tensor("weights/a", np.ones(3, HALF)), "found a tensor 'weights/a'"),
        (tensor("bias/", np.ones(3, HALF)), "found a tensor 'bias/'"),
        (edit("dtype", value="fp32"), "stored as F16, not as fp32"),
        (edit("dtype", value="int8"), "dtype: found 'int8'"),
        (edit("task", "labels", value=["a", "b"]), r"expected \(2,\) for 2 labels"),
        (edit("task", "labels", value=["a", "b", "b"]), "a name of its own for each output"),
        (edit("task", "labels", value=[]), "a name of its own for each output"),
        (edit("task", "kind", value="regression"), "a name of its own for each output"),
        (edit("task", "kind", value="ranking"), "task.kind: found 'ranking'"),
        (edit("task", "max_length", value="24"), "task.max_length: found '24'"),
        (edit("task", "name", value=24), "task.name: found 24; Input should be a valid string"),
        (edit("task", "color", value="red"), "task.color: found 'red'"),
        (edit("backbone", "shape", "layers", value=10**12), "backbone.shape.layers is 1000000000000; expected"),
        (edit("backbone", "shape", "width", value=0), "backbone.shape.width is 0"),
        (edit("backbone", "shape", "inner", value=True), "backbone.shape.inner is True"),
        (edit("backbone", "shape", value={}), "backbone.shape.layers is None"),
        (edit("backbone", "family", value="modern"), "its shape says 'bert'"),
        (edit("backbone", "pooler", value=False), "no such term"),
        (edit("method", "terms", value="query"), "which method.terms 'query' does not name"),
        (edit("method", "terms", value="quarry"), "method.terms: found 'quarry'"),
        (edit("method", "terms", value=None), "which method.terms None does not name"),
        (edit("method", "layers", value=[0, 9]), "layers 0-9 are not in an encoder of 3 layers"),
        (edit("method", "counts", "total", value=490), "method.counts says"),
        (edit("policy", value=[1]), "policy: found"),
        (edit("scores", value=[{"set": "dev"}]), "scores.0.metric"),
    ],
)
def test_a_header_that_lies_is_refused(pack: Pack, tmp_path: Path, change: Callable[..., None], said: str) -> None:
    """Every disagreement of a header with itself or its tensors is named, with the file."""
    path = rewritten(pack, tmp_path / "a.pack", change)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_unchanged_file_is_read(pack: Pack, tmp_path: Path) -> None:
    """The tests above change one thing each: without a change nothing is refused."""
    assert pack.header() == read(rewritten(pack, tmp_path / "a.pack", lambda *_: None)).header()


def test_what_fp16_cannot_hold_is_refused() -> None:
    """The message names the tensor and the way out; fp32 holds it."""
    before = loaded()
    with pytest.raises(DataError, match=r"bias/.* holds .*, more than fp16 can \(65,504\); write it as fp32"):
        toy_big(before, "fp16")
    assert 65504 < np.abs(toy_big(before, "fp32").biases["layers.0.query"]).max()


def toy_big(before: Any, dtype: str) -> Pack:
    """Return a pack whose deltas are above what fp16 holds."""
    values = trained(before, 3, seed=0, size=1e6).state_dict()
    return make_pack(before, values, tokenizer=TOKENIZER, task=toy_task(), method="bitfit", terms="all", dtype=dtype)


def test_what_cannot_be_read_is_not_written(pack: Pack, tmp_path: Path) -> None:
    """A pack changed by hand is checked before it is written, and nothing is left at its place."""
    for wrong, said in (
        (replace(pack, head={}), "head/output.bias is missing"),
        (replace(pack, dtype="int8"), "dtype: found 'int8'"),
        (replace(pack, task=replace(pack.task, max_length="9")), "task.max_length"),
    ):
        with pytest.raises(DataError, match=said):
            write(tmp_path / "a.pack", wrong)
    with pytest.raises(InputError, match=r"found the ending '\.safetensors'; the name of a pack ends in \.pack"):
        write(tmp_path / "a.safetensors", pack)
    assert [] == list(tmp_path.iterdir())

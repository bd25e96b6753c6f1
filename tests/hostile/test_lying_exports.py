"""Exports and packs whose checksums are right and whose content is made to harm."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import mutated, structured
from onnx import TensorProto, helper
from toy_exports import TEXTS, Toy, ramped

from bertwright import files, pack
from bertwright.deploy import manifest
from bertwright.deploy.runtime import Runtime
from bertwright.deploy.watch import PackFolder
from bertwright.errors import BertwrightError, DataError

FEW = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
PARTS = ("backbone.safetensors", "tokenizer.json", "tokenizer_config.json", "segments.onnx", "embeddings.onnx")


@pytest.fixture(scope="module")
def copy(exported: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that tests may change."""
    return shutil.copytree(exported.folder, tmp_path_factory.mktemp("lying") / "export")


def opened(folder: Path) -> None:
    """Open an export and answer a text, or be refused in a sentence."""
    try:
        Runtime(folder, threads=1).predict(TEXTS[:2], "a")
    except BertwrightError as error:
        assert len(str(error)) > 20


def with_checksum(folder: Path, name: str, content: bytes, manifest: bytes) -> None:
    """Put a file into an export, with a checksum that is right."""
    (folder / name).write_bytes(content)
    told = json.loads(manifest)
    told["files"][name] = files.checksum(folder / name)
    (folder / "export.json").write_text(json.dumps(told))


@FEW
@given(draw=st.randoms(use_true_random=False))
def test_a_lying_manifest_is_refused(exported: Toy, copy: Path, draw: random.Random) -> None:
    """Any value of it exchanged for an odd one."""
    whole = (exported.folder / "export.json").read_bytes()
    (copy / "export.json").write_bytes(structured(whole, draw))
    opened(copy)


@FEW
@given(name=st.sampled_from(PARTS), draw=st.randoms(use_true_random=False))
def test_parts_made_wrong_with_right_checksums_are_refused(
    exported: Toy, copy: Path, name: str, draw: random.Random
) -> None:
    """Arrays, tokenizer and graphs: whoever wrote the folder also wrote its checksums."""
    whole, manifest = (exported.folder / name).read_bytes(), (exported.folder / "export.json").read_bytes()
    with_checksum(copy, name, mutated(whole, draw), manifest)
    opened(copy)
    (copy / name).write_bytes(whole)


def test_a_graph_cannot_read_files_outside_of_its_folder(exported: Toy, tmp_path: Path) -> None:
    """ONNX lets a tensor lie in a file of any name; one above the folder is refused."""
    folder = shutil.copytree(exported.folder, tmp_path / "export")
    (tmp_path / "secret").write_bytes(bytes(64))
    outside = helper.make_tensor("w", TensorProto.FLOAT, [16], bytes(64), raw=True)
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "64")):
        entry = outside.external_data.add()
        entry.key, entry.value = key, value
    given, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [given], [out], [outside])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    with_checksum(folder, "segments.onnx", model.SerializeToString(), (folder / "export.json").read_bytes())
    assert "../secret" in str(onnx.load(folder / "segments.onnx", load_external_data=False))
    with pytest.raises(DataError, match=r"segments.onnx cannot be opened .*(escap|outside|director)"):
        Runtime(folder, threads=1)


def test_a_link_out_of_the_folder_is_refused(exported: Toy, tmp_path: Path) -> None:
    """A file of the manifest may not be a link to one elsewhere."""
    folder = shutil.copytree(exported.folder, tmp_path / "export")
    (folder / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    (folder / "tokenizer.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DataError, match=r"names 'tokenizer.json', which lies outside of the folder"):
        Runtime(folder, threads=1)


@pytest.mark.parametrize("name", ["9" * 300, "a\x00b", "a/" * 5000])
def test_a_name_that_no_file_can_have_is_refused(exported: Toy, tmp_path: Path, name: str) -> None:
    """Longer than the system takes, or with a null byte."""
    told = json.loads((exported.folder / "export.json").read_text())
    (tmp_path / "export.json").write_text(json.dumps({**told, "files": {name: "0" * 32}}))
    with pytest.raises(DataError, match=r"export.json: '.+' cannot be the name of a file \(.+\); .*export"):
        manifest.read(tmp_path)


@settings(FEW, max_examples=25)
@given(draw=st.randoms(use_true_random=False))
def test_a_lying_pack_harms_no_other(
    exported: Toy, tmp_path_factory: pytest.TempPathFactory, draw: random.Random
) -> None:
    """In a watched folder it is told with its reason, and its neighbour is served."""
    folder = tmp_path_factory.mktemp("packs")
    seed = pack.to_bytes(ramped(exported, "a", "entropy:0.5"))
    (folder / "lying.pack").write_bytes(structured(seed, draw))
    (folder / "good.pack").write_bytes(seed)
    runtime = Runtime(exported.folder, threads=1)
    watched = PackFolder(runtime, folder)
    watched.look(settled=True)
    assert "good" in runtime.packs
    assert ("lying.pack" in watched.faults) != ("lying" in runtime.packs)
    if "lying" in runtime.packs:
        try:
            runtime.predict(TEXTS[:2], "lying")
        except BertwrightError as error:
            assert len(str(error)) > 20

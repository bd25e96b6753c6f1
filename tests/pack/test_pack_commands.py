"""The commands of packs, as a user gives them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

import bertwright
from bertwright.cli.main import call
from bertwright.encoder import families
from bertwright.encoder.packed import Resident
from bertwright.pack import Pack, Score, read, to_bytes, write
from bertwright.pack_pairs import blend
from bertwright.stages.fine_tuned import answering
from bertwright.training.precision import choose

MakePack = Callable[..., Pack]


def answered(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Run a command with --json: its exit code, the object on stdout, and what stderr says."""
    capsys.readouterr()
    code = call([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]), err


@pytest.fixture
def path(tmp_path: Path, made: MakePack) -> Path:
    """The file of a pack with a score."""
    write(tmp_path / "triage.pack", made(scores=[Score("dev", "accuracy", 0.931, 0, "fp32", "sane")]))
    return tmp_path / "triage.pack"


def test_a_folder_is_listed(path: Path, made: MakePack, capsys: pytest.CaptureFixture[str]) -> None:
    """Packs in a folder and behind links are listed once, with what they are; a broken one with its fault."""
    shelf, deep = path.parent / "shelf", path.parent / "store" / "seed-0"
    deep.mkdir(parents=True)
    shelf.mkdir()
    shutil.copy(path, shelf)
    write(deep / "topic.pack", made(name="topic", dtype="fp16"))
    for link in ("best", "latest"):
        (shelf / link).symlink_to(deep)
    (deep / "cut.pack").write_bytes(to_bytes(made())[:100])
    code, found, err = answered(capsys, "pack", "list", shelf)
    assert 0 == code
    assert ["triage", "topic"] == [pack["task"]["name"] for pack in found["packs"]]
    assert [path.stat().st_size] == [pack["bytes"] for pack in found["packs"] if pack["dtype"] == "fp32"]
    assert "dev accuracy 93.1" in err
    assert ["not a whole" in fault["message"] for fault in found["faults"]] == [True]


def test_an_empty_folder_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No pack is no error; no folder is one."""
    assert 0 == call(["pack", "list", str(tmp_path)])
    assert f"no whole pack in {tmp_path}" in capsys.readouterr().out
    assert 2 == call(["pack", "list", str(tmp_path / "nowhere")])
    assert "nowhere is not there; name a folder with packs" in capsys.readouterr().err


def test_a_pack_is_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Header in words, counts apart, the change of each term by layer."""
    code, found, err = answered(capsys, "pack", "show", path)
    assert 0 == code
    expected = {key: float(np.abs(value).mean()) for key, value in read(path).biases.items()}
    assert expected == pytest.approx(found["changes"])
    assert "424 of the body, 16 of the pooler, 51 of the head: 491, beside the encoder's" in err
    assert "dev accuracy 93.1 (seed 0, fp32, sane)" in err
    [row] = [line for line in err.splitlines() if line.startswith("2 ")]
    assert f"{expected['layers.2.query']:.5f}" == row.split()[1]
    assert "the key's is noise" in err


def test_verifying_reads_and_compares(
    path: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole pack of the encoder answers a probe; a changed weight, another tokenizer or a cut file exit with 2."""
    assert 0 == call(["pack", "verify", str(path)])
    code, found, _ = answered(capsys, "pack", "verify", path, "--encoder", encoder)
    assert (0, 3) == (code, len(found["probe"]))
    other = tmp_path / "other"
    shutil.copytree(encoder, other)
    tensors = safetensors.torch.load_file(other / "model.safetensors")
    tensors["bert.encoder.layer.1.output.dense.weight"][0, 0] += 1e-4
    safetensors.torch.save_file(tensors, other / "model.safetensors", {"format": "pt"})
    code, found, _ = answered(capsys, "pack", "verify", path, "--encoder", other)
    assert (2, "DataError") == (code, found["error"]["kind"])
    assert "of the same shape, with other weights" in found["error"]["message"]
    shutil.copy(encoder / "model.safetensors", other)
    content = json.loads((other / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (other / "tokenizer.json").write_text(json.dumps(content))
    code, found, _ = answered(capsys, "pack", "verify", path, "--encoder", other)
    assert 2 == code
    assert "words would become other ids" in found["error"]["message"]
    path.write_bytes(path.read_bytes()[:-1])
    code, found, _ = answered(capsys, "pack", "verify", path)
    assert 2 == code
    assert "not a whole safetensors file" in found["error"]["message"]


def test_an_export_answers_as_the_pack(
    path: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exported folder has proved itself, gives the pack's logits, and `predict` answers with it."""
    out = tmp_path / "model"
    code, found, _ = answered(capsys, "pack", "export", path, "--encoder", encoder, "-o", out)
    assert (0, "BertForSequenceClassification") == (code, found["proof"]["class"])
    here = Resident(families.load(encoder), tokenizer=read(path).backbone.tokenizer)
    here.attach(read(path))
    model = answering(out, choose("cpu", "fp32"))
    rows = model.encode([("balan kore",), ("tusosh",)], 24)
    (tmp_path / "rows.jsonl").write_text('{"note": "balan kore"}\n{"note": "tusosh"}\n')
    bertwright.predict(out, tmp_path / "rows.jsonl", tmp_path / "answers.jsonl", precision="fp32")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    for number, ids in enumerate(rows.ids):
        expected = here.logits(torch_row(ids), segments=torch_row(rows.segments[number]))[0].numpy()
        np.testing.assert_allclose(expected, model.logits(rows)[number], rtol=1e-4, atol=1e-5)
        assert f"label {expected.argmax()}" in answers[number].values()
    code, found, _ = answered(capsys, "pack", "export", path, "--encoder", encoder, "-o", out)
    assert 2 == code
    assert "is there already" in found["error"]["message"]


def torch_row(values: np.ndarray) -> Any:
    """Return one row of ids."""
    import torch

    return torch.as_tensor(values.astype(np.int64))[None]


def test_packs_are_compared(path: Path, made: MakePack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Header's differences in lines, differences and cosines in tables, all of it in JSON."""
    write(tmp_path / "b.pack", made(seed=1, recipe="abc"))
    code, found, err = answered(capsys, "pack", "diff", path, tmp_path / "b.pack")
    assert 0 == code
    assert ["", "abc"] == found["header"]["recipe"]
    assert f"recipe: '' in {path}, 'abc' in {tmp_path / 'b.pack'}" in err
    [term] = [term for term in found["terms"] if term["key"] == "layers.1.output"]
    assert f"{term['cosine']:.5f}" in err
    assert f"{term['difference']:.5f}" in err


def test_packs_are_blended(path: Path, made: MakePack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is the blend that Python makes; nothing is written over, and a wrong share writes nothing."""
    write(tmp_path / "b.pack", made(seed=1))
    out = tmp_path / "c.pack"
    code, _, _ = answered(capsys, "pack", "blend", path, tmp_path / "b.pack", "--share", 0.25, "-o", out)
    assert 0 == code
    assert to_bytes(blend(read(path), read(tmp_path / "b.pack"), 0.25)) == out.read_bytes()
    assert 2 == call(["pack", "blend", str(path), str(path), "-o", str(out)])
    assert "is there already" in capsys.readouterr().err
    assert 2 == call(["pack", "blend", str(path), str(path), "--share", "2", "-o", str(tmp_path / "d.pack")])
    assert not (tmp_path / "d.pack").exists()


def test_looking_at_packs_needs_no_torch(path: Path) -> None:
    """``list``, ``show``, ``diff`` and ``blend`` work where torch is not installed."""
    commands = [["list", str(path.parent)], ["show", str(path)], ["diff", str(path), str(path)], ["verify", str(path)]]
    commands.append(["blend", str(path), str(path), "-o", str(path.with_name("b.pack"))])
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from bertwright.cli.main import call\n"
        f"sys.exit(sum(call(['pack', *command]) for command in {commands!r}))"
    )
    assert 0 == subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120).returncode

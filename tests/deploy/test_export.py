"""The command export: folders that are whole and proved, or not there at all."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from toy_exports import TEXTS, WORDS, MakeToy, Toy, ramped, toy, toy_tokenizer
from toy_packs import loaded, toy_pack, trained

from bertwright.cli.main import call
from bertwright.deploy import linears, nodes
from bertwright.deploy.export import Form, write_export
from bertwright.deploy.linears import Quantized
from bertwright.deploy.proof import Probe
from bertwright.deploy.runtime import Runtime
from bertwright.deploy.sensitivity import Scan
from bertwright.deploy.sources import deployable
from bertwright.encoder import families
from bertwright.encoder.model_folder import save_model
from bertwright.encoder.models import MaskedLM
from bertwright.errors import DataError, InputError
from bertwright.exits.compaction import answer_everywhere
from bertwright.exits.ramps import build_ramps
from bertwright.files import write_json
from bertwright.pack import read, write
from bertwright.stages.exiting import TUNED, exiting, write_ramps
from bertwright.stages.export_sources import gather
from bertwright.stages.fine_tuned import answering
from bertwright.training.precision import choose

Answered = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def answered(capsys: pytest.CaptureFixture[str]) -> Answered:
    """Return a function that runs a command with --json: exit code, the object on stdout, and what stderr says."""

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = call([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out.splitlines()[-1]) if out else {}, err

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tuned model."""
    folder = tmp_path_factory.mktemp("models") / "model"
    labels = ("yes", "no", "maybe")
    save_model(folder, trained(loaded(), 3, seed=1), toy_tokenizer(), labels=labels, problem="classification")
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder with two packs beside it."""
    folder, drawn, tokenizer = tmp_path_factory.mktemp("encoders") / "encoder", loaded(), toy_tokenizer()
    assert drawn.masked_lm_head is not None
    save_model(folder, MaskedLM(drawn.encoder, drawn.masked_lm_head, drawn.pooler), tokenizer)
    again = families.load(folder)
    for number, name in enumerate(("topic", "triage")):
        pack = toy_pack(again, classes=2 + number, name=name, seed=number, tokenizer=tokenizer.identity())
        write(folder.parent / f"{name}.pack", pack)
    own = Toy(folder, again, tokenizer, {"triage": pack})
    write(folder.parent / "leaving.pack", ramped(own, "triage", "entropy:0.9"))
    return folder


def rows_file(folder: Path, labels: tuple[str, ...]) -> Path:
    """Write rows with gold labels."""
    path = folder / "rows.jsonl"
    lines = [{"note": text, "label": labels[n % len(labels)]} for n, text in enumerate(TEXTS)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_a_tuned_model_is_exported(model: Path, tmp_path: Path, answered: Answered) -> None:
    """Its head is a pack called model; the proof has both precisions, and what int8 keeps is written into the pack."""
    code, found, err = answered("export", model, "-o", tmp_path / "out")
    assert (0, ["model"]) == (code, found["packs"])
    (fp32,), (int8,) = found["proof"]["fp32"], found["proof"]["int8"]
    assert fp32["largest"] < 1e-5 < int8["largest"] < 0.05
    assert 32 == fp32["rows"]
    assert "int8: model, 32 rows of drawn words: logits differ by" in err
    here = Runtime(tmp_path / "out", threads=1)
    assert {"yes", "no", "maybe"} >= {one.label for one in here.predict(TEXTS, "model")}
    (score,) = read(tmp_path / "out" / "packs" / "model.pack").scores
    assert ("same_answers", "int8", "export") == (score.metric, score.precision, score.protocol)
    assert 1 - int8["other_answer"] == score.value
    assert found["proof"] == here.manifest.proof
    assert [] == [path for path in tmp_path.iterdir() if path.name != "out"]


def test_a_tuned_models_exits_go_along(model: Path, tmp_path: Path, answered: Answered) -> None:
    """Ramps and policy beside its weights are in its pack: rows leave in ONNX Runtime where they do in torch."""
    own = shutil.copytree(model, tmp_path / "own")
    tuned = answering(own, choose("cpu", "fp32"))
    rows = tuned.encode([(text,) for text in TEXTS], 24)
    ramps = build_ramps(tuned.model, seed=1)
    first = torch.from_numpy(answer_everywhere(tuned.model, ramps, rows, "classification").logits[0])
    write_ramps(own / "ramps.safetensors", ramps)
    # Half of the rows are surer than this at the first ramp.
    write_json(own / "exits.json", {"policy": f"confidence:{first.softmax(-1).max(-1).values.median():.8f}"})
    code, _, err = answered("export", own, "-o", tmp_path / "out", "--precision", "fp32")
    assert 0 == code, err
    layers = [one.layer for one in Runtime(tmp_path / "out").predict(TEXTS, "model")]
    assert len(set(layers)) > 1
    assert exiting(tuned, own, "classification", TUNED).answer(rows).layers.tolist() == layers


def test_packs_are_exported_with_their_encoder(encoder: Path, tmp_path: Path, answered: Answered) -> None:
    """Each pack is proved on the user's own rows, exits too; names can be given; gold labels give an accuracy."""
    rows, folder = rows_file(tmp_path, ("label 0", "label 1")), encoder.parent
    code, found, err = answered(
        *("export", encoder, folder / "topic.pack", f"sorting={folder / 'leaving.pack'}", "-o", tmp_path / "out"),
        *("--rows", f"topic={rows}", "--label", "label"),
    )
    assert (0, ["topic", "sorting"]) == (code, found["packs"]), err
    topic, sorting = found["proof"]["int8"]
    assert ("rows.jsonl", 9, "drawn words", 32) == (topic["basis"], topic["rows"], sorting["basis"], sorting["rows"])
    here = Runtime(tmp_path / "out", threads=1)
    gold = [f"label {n % 2}" for n in range(9)]
    right = np.mean([one.label == label for one, label in zip(here.predict(TEXTS, "topic"), gold, strict=True)])
    assert right == topic["right"]
    assert {"same_answers", "accuracy"} == {one.metric for one in read(tmp_path / "out/packs/topic.pack").scores}
    assert "entropy:0.9" == here.packs["sorting"].policy
    assert (1, 2) == here.packs["sorting"].ramps


def test_layers_stay_fp32_until_answers_do(make_toy: MakeToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan names each segment's harm; the worst ones stay fp32 until no more answers change than asked for."""
    own = make_toy("bert-preln")

    def wrong(matrix: np.ndarray, _: int) -> Quantized:
        steps = np.abs(matrix).max(axis=0).astype(np.float32)
        return Quantized(-np.rint(matrix / steps).astype(np.int8), steps)

    monkeypatch.setattr(linears, "quantized", wrong)
    small = toy(tmp_path / "small", "bert-preln", form=Form("int8"))
    exact, int8 = own.runtime(), small.runtime()
    # A pack whose labels are near each other on these texts.
    pack, logits = own.packs["c"], np.array([one.logits for one in exact.predict(TEXTS, "c")])
    near = replace(pack, head={**pack.head, "output.bias": pack.head["output.bias"] - logits.mean(axis=0)})
    for runtime in (exact, int8):
        runtime.add(near, "near")
    scan = Scan(exact, int8, [Probe("near", "texts", tuple((text,) for text in TEXTS))])
    harms = scan.harms()
    assert [(0,), (1,), (2,)] == [harm.layers for harm in harms]
    assert all(harm.change > 0.01 for harm in harms)
    all_small, none = scan.choose(harms, 1.0), scan.choose(harms, 0.0)
    assert ((), 0.0) == (all_small.segments, none.other_answer)
    assert 0 < all_small.other_answer
    worst = max(harms, key=lambda harm: harm.change)
    assert worst.segment in none.segments


def test_layers_that_stay_fp32_are_written_so(model: Path, tmp_path: Path, answered: Answered) -> None:
    """What the scan chose is in the folder's manifest, and what it found in the proof."""
    code, found, err = answered("export", model, "-o", tmp_path / "out", "--most-changed", "0.5 %")
    assert 0 == code
    assert 3 == len(found["proof"]["scan"])
    kept = [
        n
        for segment in Runtime(tmp_path / "out").manifest.segments
        for n, p in zip(segment.layers, segment.precision, strict=True)
        if p == "fp32"
    ]
    assert kept == found["kept_fp32"]
    assert "at most 0.5 % asked for" in err


@pytest.mark.parametrize("family", ["bert", "bert-preln", "modern", "roberta", "distilbert"])
def test_one_file_for_other_runtimes(tmp_path: Path, answered: Answered, family: str) -> None:
    """One file of standard operators alone answers as torch does, with padding and two lengths."""
    own = loaded(family, **({"pad_id": 0} if family == "roberta" else {}))
    save_model(tmp_path / "m", trained(own, 3, seed=1), toy_tokenizer(), labels=("a", "b", "c"))
    code, found, err = answered("export", tmp_path / "m", "--one-file", "-o", tmp_path / "m.onnx")
    assert 0 == code, err
    assert found["differences"]["fp32"] < 1e-5 < found["differences"]["int8"] < 0.05
    written = onnx.load(tmp_path / "m.onnx")
    assert {""} == {node.domain for node in written.graph.node}
    onnx.checker.check_model(written, full_check=True)
    inputs = [one.name for one in onnxruntime.InferenceSession(str(tmp_path / "m.onnx")).get_inputs()]
    third = ["token_type_ids"] if own.config.segments > 1 else []
    assert ["input_ids", "attention_mask", *third] == inputs


@pytest.mark.parametrize("task", [{"text": ("{title} {body}",)}, {"window_stride": 4, "max_length": 12}])
def test_one_file_is_proved_on_rows_as_its_task_lays_them_out(
    encoder: Path, tmp_path: Path, answered: Answered, task: dict[str, Any]
) -> None:
    """Columns that a pattern joins, and long rows cut into windows, whose logits are averaged."""
    pack = read(encoder.parent / "topic.pack")
    path = tmp_path / "own.pack"
    write(path, replace(pack, task=replace(pack.task, **task)))
    code, found, err = answered("export", encoder, path, "--one-file", "-o", tmp_path / "m.onnx")
    assert 0 == code, err
    assert found["differences"]["fp32"] < 1e-5


def test_rows_to_score_need_labels(model: Path, tmp_path: Path, answered: Answered) -> None:
    """A text may be empty, a label not: it would count as a wrong answer."""
    (tmp_path / "rows.csv").write_text("text,label\n,high\nbala,\n")
    code, _, err = answered(
        "export", model, "-o", tmp_path / "out", "--rows", tmp_path / "rows.csv", "--label", "label"
    )
    assert 2 == code
    assert "rows.csv, row 2: column 'label' is empty, expected a label" in err


def test_a_wrong_graph_is_not_exported(
    model: Path, tmp_path: Path, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that computes something else is found by the proof; nothing is left."""
    from bertwright.deploy.blocks import Blocks

    def without_gain(self: Blocks, x: str, _: str, bias: str) -> str:
        gain = self._graph.constant(np.full(self._config.width, 1.01, dtype=np.float32))
        return self._graph.node("Add", self._graph.node("LayerNormalization", x, gain, axis=-1), bias)

    monkeypatch.setattr(Blocks, "_norm", without_gain)
    for options in ((), ("--one-file",)):
        code, found, err = answered("export", model, "-o", tmp_path / "out.onnx", *options)
        assert (1, "ProofFailed") == (code, found["error"]["kind"]), err
        assert "both fp32" in err
    assert [] == list(tmp_path.glob("out*"))


def test_a_full_disk_leaves_nothing(
    model: Path, tmp_path: Path, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a segment cannot be written the message says so, and there is no folder."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onnx.save_model", full)
    code, _, err = answered("export", model, "-o", tmp_path / "out")
    assert 2 == code
    assert "the disk is full" in err
    assert [] == list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--precision", "bf16"), "no bf16 products on this kind of processor"),
        (("--segment", "4"), "segments of 4 layers: expected 1 to 3"),
        (("--bits", "6"), "found 6 bits; expected 8, or 7"),
        (("--rows", "other=x.jsonl"), "--rows names 'other', which is no pack of this export; its packs are model"),
        (("--rows", "x.jsonl", "--rows", "y.jsonl"), "--rows was given twice for all packs"),
        (("--most-changed", "few"), "write a share such as"),
        (("--one-file",), "the name of one file for other runtimes ends in .onnx"),
    ],
)
def test_wrong_options_are_refused(
    model: Path, tmp_path: Path, answered: Answered, options: tuple[str, ...], told: str
) -> None:
    """Each says what was found and what is expected."""
    code, _, err = answered("export", model, "-o", tmp_path / "out", *options)
    assert 2 == code
    assert told in err
    assert not (tmp_path / "out").exists()


def test_what_makes_no_export_is_refused(model: Path, encoder: Path, tmp_path: Path, answered: Answered) -> None:
    """Two encoders, a pack of another one, two packs of one name, one file of no task, and a folder that is there."""
    topic = encoder.parent / "topic.pack"
    for sources, told in (
        ((model, encoder), "an export holds one encoder, and 2 were named"),
        ((model, topic), "was made for encoder"),
        ((encoder, f"../up={topic}"), "'../up' cannot be a pack's name"),
        ((encoder, topic, topic), f"are both called topic; write OTHER-NAME={topic}"),
    ):
        code, _, err = answered("export", *sources, "-o", tmp_path / "out")
        assert 2 == code
        assert told in err
    assert (
        "one file answers one task, and 0 were named"
        in answered(*("export", encoder, "--one-file", "-o", tmp_path / "out.onnx"))[2]
    )
    (tmp_path / "out").mkdir()
    assert "is there already" in answered("export", model, "-o", tmp_path / "out")[2]


def test_packs_as_runs_leave_them_are_called_by_their_tasks(encoder: Path, tmp_path: Path) -> None:
    """They are all called seed-0; any other name of a file is the pack's."""
    topic = encoder.parent / "topic.pack"
    for place in ("seed-0.pack", "mine.pack"):
        (tmp_path / place).write_bytes(topic.read_bytes())
    found = gather([encoder, tmp_path / "seed-0.pack", tmp_path / "mine.pack"])
    assert {read(topic).task.name, "mine"} == set(found.packs)


def test_an_encoder_alone_takes_packs_later(encoder: Path, tmp_path: Path, answered: Answered) -> None:
    """Without packs there is nothing to prove on; the runtime adds them."""
    code, found, _ = answered("export", encoder, "-o", tmp_path / "out", "--precision", "fp32", "--segment", "2")
    assert (0, []) == (code, found["packs"])
    here = Runtime(tmp_path / "out", threads=1)
    assert {} == here.packs
    assert "topic" == here.add(encoder.parent / "topic.pack")
    assert 9 == len(here.predict(TEXTS, "topic"))


def test_all_layers_take_their_matrices_from_the_segments(
    make_toy: MakeToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of all layers brings no matrix a second time, in int8 and in fp32."""
    monkeypatch.setattr(nodes, "_OUTSIDE", 256)
    own = make_toy()
    for precision in ("int8", "fp32"):
        folder = tmp_path / precision
        folder.mkdir()
        made = deployable(own.loaded, own.tokenizer.identity())
        manifest = write_export(folder, made, own.tokenizer, Form(precision), own.packs)
        assert "all-layers.weights" not in manifest.files
        assert {"segments.weights", "embeddings.weights"} < manifest.files.keys()
        assert 20_000 > (folder / "all-layers.onnx").stat().st_size
        here = Runtime(folder, threads=2)
        found, wanted = here.predict(TEXTS[:1], "a"), here.mixed_with(here, []).predict(TEXTS[:1], "a")
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(other.logits, one.logits, atol=1e-5)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """An export that a test may damage."""
    return toy(tmp_path / "export").folder


def changed(folder: Path, **values: object) -> None:
    """Change values of a folder's manifest."""
    path = folder / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_damaged_folders_are_refused(copy: Path) -> None:
    """A cut segment, a missing one, another format, a wrong key, a file outside, no JSON, no folder."""
    weights = copy / "segments.weights"
    whole, manifest = weights.read_bytes(), (copy / "export.json").read_text()
    weights.write_bytes(whole[:-7])
    with pytest.raises(DataError, match=rf"segments.weights is damaged: found {len(whole) - 7:,} bytes"):
        Runtime(copy)
    weights.unlink()
    with pytest.raises(DataError, match=r"segments.weights is missing, and export.json names it"):
        Runtime(copy)
    weights.write_bytes(whole)
    for values, told in (
        ({"format": 1}, "written in format 1 by bertwright"),
        ({"precision": "int4"}, "precision: found 'int4'"),
        ({"files": {"../passwd": "0"}}, "which lies outside of the folder"),
        ({"files": {}}, "embeddings.onnx has no checksum"),
        ({"segments": []}, r"its segments hold the layers \[\]; expected layers 0 to 2 in order"),
    ):
        changed(copy, **values)
        with pytest.raises(InputError, match=told):
            Runtime(copy)
        (copy / "export.json").write_text(manifest)
    (copy / "export.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        Runtime(copy)
    with pytest.raises(InputError, match="is not there; make one with `bertwright export"):
        Runtime(copy / "no")


WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
from bertwright.deploy.runtime import Runtime, Row
try:
    print(Runtime({folder!r}, threads=1).predict_rows([Row(({text!r},), "a")])[0].label)
except Exception as error:
    print(type(error).__name__, error)
"""


def run_without(blocked: tuple[str, ...], folder: Path) -> str:
    """Return what a process prints that cannot import some modules."""
    code = WITHOUT.format(blocked=blocked, folder=str(folder), text=WORDS[0])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout


def test_serving_needs_no_torch(make_toy: MakeToy) -> None:
    """Where torch, transformers and onnx cannot be imported a folder answers all the same."""
    assert "label" in run_without(("torch", "transformers", "onnx"), make_toy().folder)


def test_without_onnxruntime_the_message_says_what_brings_it(make_toy: MakeToy) -> None:
    """The line that installs it."""
    told = run_without(("onnxruntime",), make_toy().folder)
    assert "InputError this needs onnxruntime" in told
    assert '`pip install "bertwright[serve]"`' in told


def test_without_onnx_the_command_says_what_brings_it(tmp_path: Path) -> None:
    """The command that exports names its own extra."""
    code = (
        "import sys\nsys.modules['onnx'] = None\nfrom bertwright.cli.main import call\n"
        f"sys.exit(call(['export', 'encoder', '-o', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert 2 == done.returncode
    assert 'onnx, which is not installed here; `pip install "bertwright[export]"' in done.stderr

"""Answers to a file: right ones, in order, beside the row's own columns."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
import transformers
from scipy.special import softmax
from toy_rows import write_rows

import bertwright
from bertwright.cli.main import call
from bertwright.encoder.config import FAMILIES
from bertwright.errors import DataError, Diverged, InputError, LockHeld
from bertwright.stages.fine_tuned import answering
from bertwright.tasks.partial_rows import working
from bertwright.training.precision import choose

MakeModel = Callable[..., Path]
FP32 = {"precision": "fp32"}


def objects(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ordinary_logits(folder: Path, ids: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Return the logits of the ordinary class for one row alone."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32
    ).eval()
    inputs = {"input_ids": torch.from_numpy(ids)[None]}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.from_numpy(segments)[None]
    with torch.no_grad():
        found: np.ndarray = model(**inputs).logits[0].numpy()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_ordinary_class(make_model: MakeModel, tmp_path: Path, family: str) -> None:
    """Every family, pairs of texts, rows of many lengths: the logits of a row alone, and their probabilities."""
    folder = make_model(family, text=("text", "other"))
    source = write_rows(tmp_path / "a.jsonl", 7)
    done = bertwright.predict(folder, source, tmp_path / "b.jsonl", **FP32)
    model, rows = answering(folder, choose("cpu", "fp32")), objects(tmp_path / "b.jsonl")
    encoded = model.encode([(row["text"], row["other"]) for row in rows], 16)
    assert 0 < encoded.cut == done.cut
    assert {3 if family == "roberta" else 2} == {int(np.sum(ids == model.tokenizer.sep_id)) for ids in encoded.ids}
    expected = np.stack([ordinary_logits(folder, *row) for row in zip(encoded.ids, encoded.segments, strict=True)])
    np.testing.assert_allclose(expected, model.logits(encoded), atol=1e-5)
    found = [list(row["probabilities"].values()) for row in rows]
    np.testing.assert_allclose(softmax(expected, axis=1), found, atol=1e-5)
    assert [("high", "low", "wide")[n] for n in expected.argmax(axis=1)] == [row["prediction"] for row in rows]
    assert np.ptp(expected, axis=0).min() > 0.05  # rows are told apart


def test_rows_keep_their_order_and_columns(model: Path, tmp_path: Path) -> None:
    """jsonl, csv and parquet give the same answers; what the row had is as it was."""
    source = write_rows(tmp_path / "a.jsonl", 150, more={"x": [1, None]})
    rows = objects(source)
    done = bertwright.predict(model, str(source), str(tmp_path / "b.jsonl"), **FP32)
    found = objects(tmp_path / "b.jsonl")
    assert rows == [{name: row[name] for name in rows[0]} for row in found]
    assert (150, tmp_path / "b.jsonl", 0, 16) == (done.rows, done.out, done.earlier, done.max_length)
    bertwright.predict(model, tmp_path / "b.jsonl", tmp_path / "c.parquet", prefix="again_", **FP32)
    table = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert [row["prediction"] for row in found] == [row["again_prediction"] for row in table]
    bertwright.predict(model, source, tmp_path / "d.csv", **FP32)
    with (tmp_path / "d.csv").open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert [str(row["probability"]) for row in found] == [row["probability"] for row in cells]
    assert [row["text"] for row in rows] == [row["text"] for row in cells]


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_other_kinds_of_tasks(make_model: MakeModel, tmp_path: Path, kind: str) -> None:
    """Several labels are those above one half; a number is the logit."""
    folder = make_model(kind=kind)
    source = write_rows(tmp_path / "a.jsonl", 20)
    bertwright.predict(folder, source, tmp_path / "b.jsonl", **FP32)
    rows = objects(tmp_path / "b.jsonl")
    model = answering(folder, choose("cpu", "fp32"))
    logits = model.logits(model.encode([(row["text"],) for row in rows], 16))
    if kind == "regression":
        np.testing.assert_allclose(logits[:, 0], [row["prediction"] for row in rows], rtol=1e-6)
        assert "probability" not in rows[0]
        return
    assert [[n for n, z in zip(model.labels, row, strict=True) if z > 0] for row in logits] == [
        row["prediction"] for row in rows
    ]
    bertwright.predict(folder, source, tmp_path / "b.csv", **FP32)
    with (tmp_path / "b.csv").open(newline="") as stream:
        cells = [row["prediction"] for row in csv.DictReader(stream)]
    assert [";".join(row["prediction"]) or "-" for row in rows] == cells


def test_columns_of_text_may_have_other_names(make_model: MakeModel, tmp_path: Path) -> None:
    """In the task's order; as many as the task has."""
    folder = make_model(text=("a", "b"))
    source = write_rows(tmp_path / "a.jsonl", 5)
    bertwright.predict(folder, source, tmp_path / "b.jsonl", text=["text", "other"], **FP32)
    renamed = tmp_path / "c.jsonl"
    renamed.write_text(source.read_text().replace('"text"', '"a"').replace('"other"', '"b"'))
    bertwright.predict(folder, renamed, tmp_path / "d.jsonl", **FP32)
    assert [row["probability"] for row in objects(tmp_path / "b.jsonl")] == [
        row["probability"] for row in objects(tmp_path / "d.jsonl")
    ]
    with pytest.raises(DataError, match="row 1: no column 'a'.*Name the file's own column with --text COLUMN"):
        bertwright.predict(folder, source, tmp_path / "e.jsonl")
    with pytest.raises(InputError, match="1 columns of text were named, and task toy has 2: a, b; give --text once"):
        bertwright.predict(folder, source, tmp_path / "e.jsonl", text=["text"])


def test_the_command_tells_what_it_did(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for people, one JSON object last, progress on stderr; exit code 2 where the input is wrong."""
    source = write_rows(tmp_path / "a.jsonl", 30)
    arguments = ["predict", str(model), str(source), "-o", str(tmp_path / "b.csv"), "--precision", "fp32"]
    assert 0 == call([*arguments, "--json"])
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    names = {"rows", "cut", "empty", "max_length", "earlier", "seconds", "rows_per_second", "out", "exits", "notes"}
    assert {"ok", *names} == set(result)
    assert (30, str(tmp_path / "b.csv")) == (result["rows"], result["out"])
    assert result["cut"] > 0
    assert f"b.csv: 30 rows, {result['cut']} of them cut at 16 tokens" in captured.err
    assert "predict: starts (looks through" in captured.err

    assert 2 == call(arguments)
    assert "b.csv is there already; remove it first, or name another file" in capsys.readouterr().err
    (tmp_path / "b.csv").unlink()
    assert 0 == call([*arguments, "--quiet"])
    captured = capsys.readouterr()
    assert ("", True) == (captured.err, captured.out.startswith(str(tmp_path / "b.csv")))


def test_a_faulty_row_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    """The last of many rows is told before there is any work."""
    source = write_rows(tmp_path / "a.jsonl", 3000)
    with source.open("a") as stream:
        stream.write('{"text": null}\n')
    with pytest.raises(DataError, match="a.jsonl, row 3001: column 'text' holds null"):
        bertwright.predict(model, source, tmp_path / "b.jsonl")
    assert [source] == list(tmp_path.iterdir())


def test_rows_without_text_are_answered_and_counted(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As training learnt them: [CLS] and [SEP] alone. A row with one text of two has some."""
    folder = make_model(text=("text", "other"))
    source, out = tmp_path / "a.csv", tmp_path / "b.jsonl"
    source.write_text('"text";"other"\n"bala";"koren"\n"";" "\n"";"miso"\n"";""\n')
    assert 0 == call(["predict", str(folder), str(source), "-o", str(out), "--precision", "fp32"])
    said = capsys.readouterr().out
    assert "b.jsonl: 4 rows, none cut, 2 of them without text; " in said
    assert "note: a.csv: its cells are parted by semicolons, and were read so" in said
    model, rows = answering(folder, choose("cpu", "fp32")), objects(out)
    cells = [("bala", "koren"), ("", " "), ("", "miso"), ("", "")]
    assert cells == [(row["text"], row["other"]) for row in rows]
    expected = softmax(model.logits(model.encode(cells, 16)), axis=1)
    np.testing.assert_allclose(expected, [list(row["probabilities"].values()) for row in rows], atol=1e-5)
    done = bertwright.predict(folder, source, tmp_path / "b.csv", **FP32)
    assert (2, ("a.csv: its cells are parted by semicolons, and were read so",)) == (done.empty, done.notes)
    assert "text,other,prediction" == (tmp_path / "b.csv").read_text()[:21]


def test_a_file_without_rows_has_no_answers(model: Path, tmp_path: Path) -> None:
    """The columns are there all the same."""
    (tmp_path / "a.csv").write_text("text\n")
    assert 0 == bertwright.predict(model, tmp_path / "a.csv", tmp_path / "b.csv").rows
    assert "text,prediction,probability," == (tmp_path / "b.csv").read_text()[:28]


def test_a_run_is_known_by_its_folder_or_its_models(model: Path, tmp_path: Path) -> None:
    """A sealed run of an earlier version says its task in the record; what else a folder is, is told."""
    stage = tmp_path / "finetune-0"
    shutil.copytree(model, stage / "model")
    described = json.loads((stage / "model" / "task.json").read_text())
    (tmp_path / "seed-0").symlink_to(stage / "model", target_is_directory=True)
    source = write_rows(tmp_path / "a.jsonl", 3)
    for number, folder in enumerate((stage, stage / "model", tmp_path / "seed-0")):
        assert 3 == bertwright.predict(folder, source, tmp_path / f"{number}.jsonl").rows

    (stage / "model" / "task.json").unlink()
    with pytest.raises(InputError, match="holds BertForSequenceClassification and no task.json: it was not fine-tuned"):
        bertwright.predict(stage, source, tmp_path / "b.jsonl")
    task = {"name": "toy", "kind": "classification", "text": ["text"], "none_label": None, "label_separator": ";"}
    record = {"parts": {"options": {"task": task, "max_length": described["max_length"]}}}
    (stage / "record.json").write_text(json.dumps(record))
    assert 3 == bertwright.predict(tmp_path / "seed-0", source, tmp_path / "b.jsonl").rows
    for content in ("[]", '{"parts": 3}', "{"):
        (stage / "record.json").write_text(content)
        with pytest.raises(DataError, match="record.json: found no record of a run, which is a JSON object"):
            bertwright.predict(stage, source, tmp_path / "c.jsonl")


DAMAGED_TASKS = [
    ("{", r"the task: found b?'\{'; Invalid JSON"),
    ("[]", r"the task: found \[\]; Input should be an object"),
    ("{}", "task: found {}; Field required"),
    ({"kind": "foo"}, "kind: found 'foo'; Input should be 'classification', 'multi-label' or 'regression'"),
    ({"max_length": "16"}, "max_length: found '16'; Input should be a valid integer"),
    ({"max_length": 2}, "max_length: found 2; Input should be greater than or equal to 4"),
    ({"text": "text"}, "text: found 'text'; Input should be a valid array"),
    ({"text": []}, r"text: found \[\]; Tuple should have at least 1 item"),
    ({"label_separator": 3}, "label_separator: found 3; Input should be a valid string"),
    ({"window_stride": 0}, "window_stride: found 0; Input should be greater than or equal to 1"),
    ({"more": 1}, "more: found 1; Unexpected keyword argument"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGED_TASKS, ids=[str(change) for change, _ in DAMAGED_TASKS])
def test_a_damaged_task_is_told_before_the_work(
    model: Path, tmp_path: Path, change: str | dict[str, Any], words: str
) -> None:
    """The file, the key, what was found and what is expected; nothing is left beside the output."""
    told = json.loads((model / "task.json").read_text())
    shutil.copytree(model, tmp_path / "m")
    (tmp_path / "m" / "task.json").write_text(change if isinstance(change, str) else json.dumps({**told, **change}))
    source = write_rows(tmp_path / "a.jsonl", 3)
    with pytest.raises(DataError, match=f"m/task.json: {words}.*; copy the run's folder once more"):
        bertwright.predict(tmp_path / "m", source, tmp_path / "b.jsonl")
    assert {source, tmp_path / "m"} == set(tmp_path.iterdir())


def test_a_task_and_a_model_of_two_kinds_are_told(model: Path, tmp_path: Path) -> None:
    """A label's logit is no number to answer with."""
    shutil.copytree(model, tmp_path / "m")
    told = json.loads((model / "task.json").read_text())
    (tmp_path / "m" / "task.json").write_text(json.dumps({**told, "kind": "regression"}))
    with pytest.raises(DataError, match="says problem_type 'single_label_classification', expected 'regression' for"):
        bertwright.predict(tmp_path / "m", write_rows(tmp_path / "a.jsonl", 3), tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("{", DataError, "config.json: not valid JSON"),
        ("[]", DataError, "config.json: found a JSON list, expected an object"),
        ('{"architectures": 3}', InputError, "holds a model and no task.json: it was not fine-tuned"),
    ],
)
def test_a_damaged_config_is_told(
    model: Path, tmp_path: Path, content: str, error: type[Exception], words: str
) -> None:
    """Where there is no task.json, the config says what the folder holds instead."""
    shutil.copytree(model, tmp_path / "m")
    (tmp_path / "m" / "task.json").unlink()
    (tmp_path / "m" / "config.json").write_text(content)
    with pytest.raises(error, match=words):
        bertwright.predict(tmp_path / "m", write_rows(tmp_path / "a.jsonl", 3), tmp_path / "b.jsonl")


def test_what_is_no_run_is_told(model: Path, tmp_path: Path) -> None:
    """Nothing there, a file, an empty folder, a folder of runs, a folder of anything."""
    runs = tmp_path / "tasks" / "pretrained"
    runs.mkdir(parents=True)
    shutil.copytree(model, runs / "seed-0")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    source = write_rows(tmp_path / "other" / "a.jsonl", 1)
    for folder, words in (
        (tmp_path / "absent", "absent is not there; name the folder of a fine-tuned run, such as bertwright-store/"),
        (source, "a.jsonl is a file; name the folder of a fine-tuned run"),
        (tmp_path / "empty", r"empty is no fine-tuned run \(it is empty\)"),
        (tmp_path / "other", r"\(it holds a.jsonl\); expected a folder such as"),
        (tmp_path / "tasks", r"it holds the runs pretrained/seed-0: name one"),
    ):
        with pytest.raises(InputError, match=words):
            bertwright.predict(folder, source, tmp_path / "b.jsonl")


def test_a_place_that_cannot_be_written_is_told(model: Path, tmp_path: Path) -> None:
    """No folder, a file that is there, another process at work, a precision that is none."""
    source = write_rows(tmp_path / "a.jsonl", 1)
    with pytest.raises(InputError, match="the folder .*none is not there; name a file in a folder of yours"):
        bertwright.predict(model, source, tmp_path / "none" / "b.jsonl")
    with pytest.raises(InputError, match="a.jsonl is there already; remove it first"):
        bertwright.predict(model, source, source)
    with working(tmp_path / "b.jsonl"), pytest.raises(LockHeld, match="another process writes .*b.jsonl; wait for it"):
        bertwright.predict(model, source, tmp_path / "b.jsonl")
    with pytest.raises(InputError, match="precision 'int8' is not known; it is auto, bf16, fp16, fp32"):
        bertwright.predict(model, source, tmp_path / "b.jsonl", precision="int8")
    assert [source] == list(tmp_path.iterdir())


def test_answers_that_are_no_numbers_stop(make_model: MakeModel, tmp_path: Path) -> None:
    """The rows are named, and what to try."""
    folder, source = make_model(seed=5), write_rows(tmp_path / "a.jsonl", 4)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["classifier.bias"][0] = float("nan")
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Diverged, match=r"a.jsonl, rows 1 to 4: the model gave.*for 4 of 4 rows.*try --precision fp32"):
        bertwright.predict(folder, source, tmp_path / "b.jsonl", text="text")
    assert not (tmp_path / "b.jsonl").exists()


def test_bf16_answers_are_nearly_those_of_fp32(model: Path, tmp_path: Path) -> None:
    """Probabilities are computed in fp32 from what the model gives in either format."""
    source = write_rows(tmp_path / "a.jsonl", 40)
    for name in ("bf16", "fp32"):
        bertwright.predict(model, source, tmp_path / f"{name}.jsonl", precision=name)
    low, high = (np.array([r["probability"] for r in objects(tmp_path / f"{n}.jsonl")]) for n in ("bf16", "fp32"))
    assert 0 < np.abs(low - high).max() < 0.05
    sums = [sum(row["probabilities"].values()) for row in objects(tmp_path / "bf16.jsonl")]
    np.testing.assert_allclose(1, sums, atol=1e-6)


def test_texts_are_made_as_in_training(make_model: MakeModel, tmp_path: Path) -> None:
    """A pattern joins columns and treebank marks are turned back: the answers of texts written out."""
    folder = make_model(text=("{text} ( {other}",))
    told = json.loads((folder / "task.json").read_text())
    (folder / "task.json").write_text(json.dumps({**told, "brackets": True}))
    rows = [
        {"title": "bala -LRB-", "text": "koren", "other": "miso"},
        {"title": "x", "text": "tuk -LRB-", "other": "la"},
    ]
    plain = [{"text": "koren ( miso"}, {"text": "tuk ( ( la"}]
    for name, content in (("joined", rows), ("plain", plain)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    bertwright.predict(folder, tmp_path / "joined.jsonl", tmp_path / "a.jsonl", **FP32)
    (folder / "task.json").write_text(json.dumps({**told, "text": ["text"]}))
    bertwright.predict(folder, tmp_path / "plain.jsonl", tmp_path / "b.jsonl", **FP32)
    answers = [[row["probabilities"] for row in objects(tmp_path / f"{name}.jsonl")] for name in "ab"]
    assert answers[0] == answers[1] and answers[0][0] != answers[0][1]

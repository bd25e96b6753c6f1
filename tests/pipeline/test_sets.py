"""Sets of another task, groups and merged labels, from recipe to report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import bertwright
from bertwright.cli.main import call
from bertwright.errors import BertwrightError
from bertwright.pipeline.plan import plan, resolve_task
from bertwright.pipeline.preflight import look_into_task
from bertwright.pipeline.run import run
from bertwright.recipe.reading import load_recipe
from bertwright.reports.tables import summary_lines

Toy = Callable[..., Path]


@pytest.fixture
def inference(toy: Toy, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a recipe of three labels of inference with HANS beside, and gives its path."""
    labels = ["entailment", "neutral", "contradiction"]
    for name, count in (("train", 24), ("dev_matched", 12)):
        rows = [{"premise": "bala kores", "hypothesis": "mila", "label": labels[i % 3]} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cells = [(h, label) for h in ("constituent", "subsequence") for label in ("entailment", "non-entailment")]
    hans = [
        {"premise": "a", "hypothesis": "b", "label": label, "heuristic": heuristic, "subcase": f"{heuristic[:3]}_1"}
        for heuristic, label in cells
    ]
    (tmp_path / "hans.jsonl").write_text("".join(json.dumps(row) + "\n" for row in hans * 2))

    def write(known: str | None = "hans", **changes: Any) -> Path:
        sets = {
            "dev_matched": "dev_matched.jsonl",
            "hans": {"file": "hans.jsonl", **({"known": known} if known else {})},
        }
        task = {"name": "nli", "known": "mnli", "train": "train.jsonl", "sets": sets, **changes}
        finetune = {"epochs": 1, "batch": 16, "seeds": 2, "max_length": 16, "baseline": False}
        return toy(tasks=[task], pretrain={"budget": "2 steps"}, finetune=finetune)

    return write


def test_hans_is_scored_by_a_model_of_three_labels(inference: Callable[..., Path]) -> None:
    """The record has total, six cells' kind of groups and the convention; report and terminal show them."""
    result = run(inference())
    record = result.stages["evaluate/nli"].record["results"]
    assert {"set": "dev_matched", "metric": "accuracy"} == record["headline"]
    assert ("hans", "argmax", ["entailment", "non-entailment"]) == tuple(
        record["sets"]["hans"][key] for key in ("known", "merge", "labels")
    )
    groups = record["variants"][0]["groups"]["hans"]
    six = [one for one in groups if one["group"] == "heuristic x label"]
    assert [2] * 4 == [one["rows"] for one in six]
    assert all(len(one["values"]) == 2 for one in six)
    total = record["variants"][0]["scores"]["hans"]["accuracy"]["values"]
    assert total == pytest.approx([sum(one["values"][seed] for one in six) / 4 for seed in (0, 1)])
    lines = "\n".join(summary_lines(result.records))
    assert "nli: hans by heuristic x label" in lines
    table = lines[lines.index("nli: hans by heuristic x label") :].splitlines()[2:7]
    cells = [f"{h} x {label}" for h in ("constituent", "subsequence") for label in ("entailment", "non-entailment")]
    assert ["all rows", *cells] == [line.split("  ")[0] for line in table]
    assert "answers on hans: the best of the model's labels first, then merged (argmax)" in lines
    page = Path(str(result.report)).read_text(encoding="utf-8")
    assert "nli: hans by subcase" in page
    numbers = json.loads((result.folder / "report.json").read_text())
    assert len(groups) == len(numbers["groups"])
    assert load_recipe(result.folder / "recipe.yaml") == load_recipe(result.folder.parents[2] / "toy.yaml")


def test_labels_that_do_not_fit_are_told_before_any_work(
    inference: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A set of paraphrases for a model of inference: nothing is trained, and both lists of labels are named."""
    path = inference("paws")
    Path(path.parent / "hans.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "label": "paraphrase"}\n')
    assert 2 == call(["run", str(path), "-q"])
    message = capsys.readouterr().err
    assert "set hans (paws): the model's labels are contradiction, entailment, neutral" in message
    assert not list(path.parent.glob("bertwright-store/**/model.safetensors"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sets": {"dev": {"file": "hans.jsonl", "merge": "sum"}}}, "`merge` needs `known`"),
        ({"sets": {"dev": {"file": "gone.jsonl"}}}, "gone.jsonl is not there"),
        ({"sets": {"dev": "gone.jsonl"}}, "gone.jsonl is not there"),
        ({"sets": {"dev": {"file": "hans.jsonl", "merge": "best", "known": "hans"}}}, "allowed are argmax, sum, drop"),
        (
            {"sets": {"dev": {"knwon": "hans", "file": "hans.jsonl"}}},
            "did you mean `known`? The keys here are file, groups",
        ),
        ({"train": None}, "a known task needs `folder`, where its files are, or train"),
        ({"text": "premise"}, "remove text or `known`"),
        ({"known": "mnlii"}, "did you mean mnli"),
    ],
)
def test_faults_of_sets_are_told_with_their_key(
    inference: Callable[..., Path], changes: dict[str, Any], words: str
) -> None:
    """What was found, what is allowed, and under which key."""
    path = inference(**changes)
    document = yaml.safe_load(path.read_text())
    document["tasks"][0] = {key: value for key, value in document["tasks"][0].items() if value is not None}
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(BertwrightError) as caught:
        plan(load_recipe(path))
    assert words in str(caught.value)


def test_a_check_says_what_was_left_out_and_how_labels_become_others(inference: Callable[..., Path]) -> None:
    """Notes before any work: rows without a label, semicolons, a label of one row, and the convention."""
    path = inference()
    (path.parent / "train.jsonl").write_text(
        "".join(
            json.dumps({"sentence1": "an a", "sentence2": "b", "gold_label": label}) + "\n"
            for label in ("-", "neutral", "neutral", "entailment", "entailment", "contradiction")
        )
    )
    notes: list[str] = []
    look_into_task(resolve_task(load_recipe(path).tasks[0]), notes)
    assert notes == [
        "note: task nli: label contradiction occurs in one training row only",
        "note: task nli: train.jsonl: 1 row(s) without a label, left out (1 with '-' in place of one)",
        "note: task nli: hans: the best of the model's labels first, then merged (argmax); contradiction and neutral "
        "count as non-entailment",
    ]


def test_another_convention_is_another_evaluation_and_no_other_training(inference: Callable[..., Path]) -> None:
    """The convention stands in the identity of the scores; trained runs hang neither on it nor on groups."""
    path = inference()
    before = {stage.name: stage.identity for stage in plan(load_recipe(path))}
    changes = ["tasks.0.sets.hans.merge=sum", "tasks.0.sets.hans.groups=subcase"]
    after = {stage.name: stage.identity for stage in plan(load_recipe(path, changes))}
    assert ["evaluate/nli"] == [name for name in before if before[name] != after[name] and name.startswith("eval")]
    assert not [name for name in before if before[name] != after[name] and name.startswith("finetune")]


def test_sets_come_beside_those_of_the_folder(inference: Callable[..., Path], tmp_path: Path) -> None:
    """A known task's own sets are found in its folder; named ones stand in for them or come beside."""
    (tmp_path / "dev_mismatched.jsonl").write_text((tmp_path / "dev_matched.jsonl").read_text())
    path = inference(folder=".", sets={"hans": {"file": "hans.jsonl", "known": "hans"}}, train=None)
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "train: null" not in line))
    task = resolve_task(load_recipe(path).tasks[0])
    assert ["dev_matched", "dev_mismatched", "hans"] == list(task.sets)
    assert tmp_path / "train.jsonl" == task.train
    assert ["hans"] == list(task.forms)


def test_rows_that_are_cut_are_counted_set_by_set(tuned: Toy) -> None:
    """Also where the encoder takes less than was asked for; the forecast knows that, and the notes tell the length."""
    path = tuned(finetune={"epochs": 1, "seeds": 1, "baseline": False, "max_length": 128})
    for name in ("train.jsonl", "dev.jsonl"):
        rows = [json.loads(line) for line in (path.parent / name).read_text().splitlines()]
        rows[0]["text"] = " ".join(["low"] * 999)
        (path.parent / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run(path)
    found = result.stages["evaluate/height"].record["results"]["sets"]["dev"]
    assert (1, 32) == (found["rows_cut"], found["longest"])
    told = "1 of 24 rows of dev were longer than 32 tokens and lost the end of their longest text."
    lines = "\n".join(summary_lines(result.records))
    assert told in lines and told.replace("24 rows of dev", "48 training rows") in lines


def test_weights_and_windows_go_from_recipe_to_report(toy: Toy) -> None:
    """Both are in the records and the notes; every row is still answered once."""
    task = {"name": "height", "train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text"}
    task |= {"window_stride": 4, "max_length": 8}
    plain, task = {**task, "name": "plain"}, {**task, "class_weights": {"high": 3}}
    finetune = {"epochs": 1, "batch": 16, "seeds": 1, "baseline": False}
    result = run(toy(tasks=[task, plain], pretrain={"budget": "2 steps"}, finetune=finetune))
    trained = result.stages["finetune/height/pretrained/seed-0"].record["results"]
    assert {"high": 1.5, "low": 0.5} == trained["class_weights"]
    unweighted = result.stages["finetune/plain/pretrained/seed-0"].record["results"]
    assert "class_weights" not in unweighted
    assert trained["train_loss"] != unweighted["train_loss"]
    assert (48, 0) == (trained["rows"], trained["rows_cut"])
    assert trained["windows"] > 48
    scored = result.stages["evaluate/height"].record["results"]
    assert 24 == scored["sets"]["dev"]["rows"]
    assert scored["variants"][0]["windows"]["dev"] > 24
    lines = "\n".join(summary_lines(result.records))
    assert "labels count in training by the weights high 1.5, low 0.5" in lines
    assert f"48 training rows became {trained['windows']} windows" in lines
    assert load_recipe(result.folder / "recipe.yaml") == load_recipe(result.folder.parents[2] / "toy.yaml")


def test_labels_that_are_digits_can_have_weights(toy: Toy) -> None:
    """YAML reads 0 and 1 as numbers; in a file they are words."""
    task = {"name": "height", "train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text"}
    recipe = load_recipe(toy(tasks=[{**task, "class_weights": {0: 1, 1: 2.5}}]))
    assert {"0": 1.0, "1": 2.5} == recipe.tasks[0].class_weights


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_weights": {"middle": 2}}, "names 'middle', which no training row has (found: high, low)"),
        ({"class_weights": {"high": 0}}, "greater than 0"),
        ({"class_weights": "equal"}, "balanced"),
        ({"window_stride": 0}, "greater than 0"),
        ({"groups": "site"}, "no column 'site'"),
    ],
)
def test_faults_of_weights_windows_and_groups_are_told_before_any_work(
    toy: Toy, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    """Exit code 2 and what to change."""
    task = {"name": "height", "train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text"}
    path = toy(tasks=[{**task, **changes}], pretrain={"budget": "2 steps"})
    assert 2 == call(["run", str(path), "-q"])
    assert words in capsys.readouterr().err
    assert not list(path.parent.glob("bertwright-store/**/model.safetensors"))


def test_a_check_says_the_same_of_several_tasks_once(tuned: Toy, tmp_path: Path) -> None:
    """A label that is rare in three tasks is one note, with their names."""
    with (tmp_path / "train.jsonl").open("a") as stream:
        stream.write('{"text": "balan", "label": "odd"}\n')
    form = {"train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text"}
    tasks = [{"name": name, **form} for name in ("height", "depth", "width")]
    found = bertwright.check(tuned(tasks=tasks, finetune={"baseline": False}))
    (note,) = (one for one in found.notes if "odd" in one)
    assert "note: tasks height, depth and width: label odd occurs in one training row only" == note

"""The main job on a toy: what runs, what is skipped and why, and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
import yaml

import bertwright
from bertwright import files
from bertwright.cli.main import call
from bertwright.errors import DataError, LockHeld, RecipeError
from bertwright.pipeline.plan import plan
from bertwright.pipeline.results import run_folder
from bertwright.pipeline.stage import standings
from bertwright.store import Store, pointers

Toy = Callable[..., Path]


def states(path: Path, *overrides: str) -> dict[str, tuple[str, str]]:
    """Return state and reason of every stage."""
    recipe = bertwright.load_recipe(path, overrides)
    store, before = Store(recipe.store), pointers(run_folder(recipe))
    found = standings(plan(recipe), store, before)
    return {name: (due.state, due.why) for name, due in found.items()}


def test_one_recipe_goes_from_text_to_report(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole road, twice: the second time everything is sealed and nothing runs."""
    path = toy()
    assert 0 == call(["run", str(path), "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ok"]
    folder = Path(result["folder"])
    assert (folder / "report.html").stat().st_size > 20_000
    kinds = [stage["kind"] for stage in result["stages"].values()]
    assert ["tokenizer", "overlap", "prepare", "pretrain", "initialise", *["finetune"] * 4, "evaluate"] == kinds
    scores = result["stages"]["evaluate/height"]["results"]
    assert ["pretrained", "untrained"] == [variant["variant"] for variant in scores["variants"]]
    assert [0, 1] == scores["variants"][0]["seeds"]

    model = transformers.AutoModelForMaskedLM.from_pretrained(folder / "encoder", local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "encoder", local_files_only=True)
    assert model.config.vocab_size == len(tokenizer)
    classifier = folder / "tasks" / "height" / "pretrained" / "seed-0"
    labels = transformers.AutoModelForSequenceClassification.from_pretrained(classifier, local_files_only=True).config
    assert {0: "high", 1: "low"} == labels.id2label

    assert {"done"} == {state for state, _ in states(path).values()}
    before = {name: stage["started"] for name, stage in result["stages"].items()}
    assert 0 == call(["run", str(path), "--json"])
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert before == {name: stage["started"] for name, stage in again["stages"].items()}
    assert [] == Store(bertwright.load_recipe(path).store).verify()


def test_a_change_runs_again_what_is_downstream_and_plan_says_why(toy: Toy, tmp_path: Path) -> None:
    """Options, files and seeds reach exactly the stages that hang on them; speed settings reach none."""
    path = toy(finetune={"seeds": 1, "baseline": False})
    bertwright.run(path)
    run = "finetune/height/pretrained/seed-0"
    due = lambda found: {name for name, (state, _) in found.items() if state != "done"}  # noqa: E731

    assert set() == due(states(path, "pretrain.micro_batch=4", "system.threads=2", "pretrain.checkpoint_every=1 min"))

    scored = run_folder(bertwright.load_recipe(path)) / "scores" / "height"
    shutil.move(scored.resolve(), tmp_path / "elsewhere")
    assert {"evaluate/height": ("due", "has not run yet, or was removed from the store")} == {
        name: found for name, found in states(path).items() if found[0] != "done"
    }
    shutil.move(tmp_path / "elsewhere", scored.resolve())

    changed = states(path, "finetune.learning_rate=1e-3")
    assert {run, "evaluate/height"} == due(changed)
    assert "learning_rate was 5e-05, is 0.001" == changed[run][1]

    changed = states(path, "pretrain.budget=13 steps")
    assert {"pretrain", run, "evaluate/height"} == due(changed)
    assert "budget was 12 steps, is 13 steps" in changed["pretrain"][1]
    assert "its encoder changed (pretrain runs again)" == changed[run][1]

    changed = states(path, "tokenizer.vocabulary=85")
    assert set(changed) == due(changed)
    assert "vocabulary was 90, is 85" == changed["tokenizer"][1]

    changed = states(path, "seed=5")
    assert "tokenizer" not in due(changed)
    assert {"prepare", "pretrain"} < due(changed)

    with (tmp_path / "texts" / "1.txt").open("a") as stream:
        stream.write("\nbalan koren\n")
    changed = states(path)
    assert set(changed) == due(changed)
    assert "the content of source 00001 changed" == changed["tokenizer"][1]

    (tmp_path / "texts" / "1.txt").unlink()
    assert "source" in states(path)["tokenizer"][1]


def test_a_changed_dev_file_trains_nothing_again(toy: Toy, tmp_path: Path) -> None:
    """Only the scores, and the search for its rows in the text, hang on the sets."""
    path = toy(finetune={"seeds": 1, "baseline": False})
    bertwright.run(path)
    with (tmp_path / "dev.jsonl").open("a") as stream:
        stream.write('{"text": "balan koren", "label": "low"}\n')
    assert {"evaluate/height", "overlap"} == {name for name, (state, _) in states(path).items() if state != "done"}
    assert "the content of set dev changed" == states(path)["evaluate/height"][1]


def test_a_stage_can_be_switched_off_or_handed_in(toy: Toy, tmp_path: Path) -> None:
    """Text prepared in one place trains in another; an encoder folder can be taken as it is."""
    first = bertwright.prepare(toy(pretrain=None, tasks=None))
    handed = tmp_path / "handed"
    shutil.copytree(first.stages["prepare"].folder, handed)
    path = toy(prepare=None, tokenizer=None, store=str(tmp_path / "other"))
    document = {**yaml.safe_load(path.read_text()), "prepare": {"ready": "handed"}}
    path.write_text(yaml.safe_dump(document))
    second = bertwright.run(path)
    assert {"prepare", "tokenizer"}.isdisjoint(second.stages)
    assert "pretrain" in second.stages

    document |= {"prepare": False, "pretrain": False, "store": str(tmp_path / "third")}
    document["encoder"] = {"folder": str(second.folder / "encoder")}
    path.write_text(yaml.safe_dump(document))
    third = bertwright.run(path)
    assert {"given", "untrained"} == {r["results"]["variant"] for r in third.records.of_kind("finetune")}


def test_rows_of_another_tokenizer_are_not_trained_on(toy: Toy, tmp_path: Path) -> None:
    """Both are named: words would become other ids."""
    handed = tmp_path / "handed"
    shutil.copytree(bertwright.prepare(toy(pretrain=None, tasks=None)).stages["prepare"].folder, handed)
    path = handed / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["continuing_subword_prefix"] = "@@"
    path.write_text(json.dumps(content))
    document = yaml.safe_load(toy(prepare=None, tokenizer=None, tasks=None).read_text())
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({**document, "prepare": {"ready": "handed"}}))
    with pytest.raises(
        bertwright.BertwrightError, match=r"was prepared with tokenizer \w+, not \w+. Use the tokenizer"
    ):
        bertwright.run(tmp_path / "toy.yaml")


def test_a_folder_is_continued_and_one_without_a_head_gets_a_fresh_one(toy: Toy, tmp_path: Path) -> None:
    """Continuing adds the folder as it was to the comparison; a missing masked-word head is trained first, and said."""
    bare = tmp_path / "bare"
    first = bertwright.pretrain(toy(tasks=None))
    transformers.AutoModel.from_pretrained(first.folder / "encoder", local_files_only=True).save_pretrained(bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(first.folder / "encoder" / name, bare / name)
    path = toy(tokenizer=None, finetune={"seeds": 1})
    document = {**yaml.safe_load(path.read_text()), "encoder": {"folder": "bare"}}
    document["pretrain"]["head_warmup"] = "50 %"
    path.write_text(yaml.safe_dump(document))
    result = bertwright.run(path)
    pretrained = result.stages["pretrain"].record["results"]
    assert any("head" in note and "body frozen" in note for note in pretrained["notes"])
    assert (6, str(bare)) == (pretrained["steps"], pretrained["started_from"])
    variants = {r["results"]["variant"] for r in result.records.of_kind("finetune")}
    assert {"continued", "given", "untrained"} == variants


def test_a_file_of_unknown_kind_is_left_out_and_told(toy: Toy) -> None:
    """A letter among the texts is not read; the terminal's lines and the report say so."""
    path = toy(tasks=None, pretrain=None)
    (path.parent / "texts" / "letter.docx").write_bytes(b"PK")
    page = bertwright.prepare(path).report
    assert page is not None
    assert "1 file(s) of" in page.read_text()
    assert "letter.docx" in page.read_text()


def test_prepare_shows_rows_as_the_model_sees_them(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """`prepare --inspect 3` prints three decoded rows with their special tokens."""
    path = toy(tasks=None, pretrain=None)
    assert 0 == call(["prepare", str(path), "--inspect", "3", "--quiet"])
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert all(row.startswith("[CLS] ") and row.endswith(" [SEP]") for row in rows)


def test_python_verbs_stop_where_they_say(toy: Toy) -> None:
    """prepare, pretrain, finetune and evaluate go so far and no further; report runs nothing."""
    path = toy(finetune={"seeds": 1, "baseline": False})
    text = ["tokenizer", "overlap", "prepare"]
    assert text == list(bertwright.prepare(path).stages)
    assert [*text, "pretrain"] == list(bertwright.pretrain(path).stages)
    assert "evaluate/height" not in bertwright.finetune(bertwright.load_recipe(path)).stages
    assert bertwright.report(path).is_file()
    assert "evaluate/height" in bertwright.evaluate(path).stages


def test_nothing_leaves_the_machine(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole road works with every connection refused."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    bertwright.run(toy(finetune={"seeds": 1}))


def test_two_devices_train_one_model(toy: Toy) -> None:
    """`system.devices: 2` starts two ranks by itself; the held-out loss is one process's, to 1e-3."""
    small = {"tasks": None}
    one = bertwright.pretrain(toy(**small)).stages["pretrain"].record["results"]
    two = (
        bertwright.pretrain(toy(**small, store="other", system={"threads": 2, "devices": 2, "precision": "fp32"}))
        .stages["pretrain"]
        .record["results"]
    )
    assert one["tokens"] == two["tokens"]
    assert pytest.approx(one["held_out_loss"], abs=1e-3) == two["held_out_loss"]


def test_runs_side_by_side_give_the_same_bits(toy: Toy, tmp_path: Path) -> None:
    """Two runs at once, each in a process of its own, are those of one after the other; all are scored."""
    path = toy()
    results = [
        bertwright.run(bertwright.load_recipe(path, [f"store={tmp_path / str(runs)}", f"system.runs={runs}"]))
        for runs in (1, 2)
    ]
    weights = [
        [files.checksum(s.folder / "model" / "model.safetensors") for name, s in r.stages.items() if "/seed" in name]
        for r in results
    ]
    assert 4 == len(weights[0])
    assert weights[0] == weights[1]
    scores = [result.stages["evaluate/height"].record["results"] for result in results]
    assert scores[0] == scores[1]


def test_a_runs_own_fault_arrives_from_its_process(toy: Toy, tmp_path: Path) -> None:
    """An error of a worker has its kind and its words; the other runs are ended."""
    recipe = bertwright.load_recipe(toy(pretrain=None), ["system.runs=2", f"store={tmp_path / 's'}"])
    [first, *_] = [stage for stage in plan(recipe) if stage.kind == "finetune"]
    with Store(recipe.store).lock(first.kind, first.identity), pytest.raises(LockHeld, match=f"process {os.getpid()}"):
        bertwright.run(recipe)
    assert bertwright.run(recipe).report is not None


def test_check_finds_three_planted_mistakes_at_once(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt key, a wrong column and a label that was never trained: each with its line, in one go, exit 2."""
    (tmp_path / "dev.jsonl").write_text('{"text": "balan", "label": "middle"}\n')
    path = toy()
    task = {"name": "other", "train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "body"}
    document = yaml.safe_load(path.read_text())
    document["pretrain"]["bugdet"] = "5 min"
    document["tasks"].append(task)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    lines = path.read_text().splitlines()
    number = {
        what: next(i for i, line in enumerate(lines, 1) if what in line) for what in ("bugdet", "height", "other")
    }
    assert 2 == call(["check", str(path)])
    told = capsys.readouterr().err
    assert f"toy.yaml:{number['bugdet']}: pretrain.bugdet: no such key; did you mean `budget`?" in told
    assert f"toy.yaml:{number['height']}: tasks.0: " in told and "label 'middle' is in no training row" in told
    assert f"toy.yaml:{number['other']}: tasks.1: " in told and "no column 'body'" in told
    assert "found: text, label" in told


def test_check_forecasts_and_trains_nothing(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe without faults gets hours, memory and disk for each stage."""
    path = toy()
    assert 0 == call(["check", str(path), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(states(path)) == set(found["stages"])
    assert all(one["memory_bytes"] > 1e7 for one in found["stages"].values())
    assert {"due"} == {state for state, _ in states(path).values()}
    assert "about 12 updates of 8 rows" in found["notes"][0]
    assert "12 updates are few" in found["notes"][1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system": {"memory": "20 MB"}}, "system.memory allows 20 MB and preparing text needs 400 MB"),
        ({"encoder": {"size": "large", "width": 65536, "heads": 64, "inner": 262144}}, "needs about .* of memory"),
    ],
)
def test_what_cannot_fit_is_refused_before_work(toy: Toy, changes: dict[str, Any], words: str) -> None:
    """Too little memory is told before anything is trained, with what would help."""
    if "encoder" in changes:
        changes = {"encoder": {**changes["encoder"], "layers": 2, "positions": 32}}
    with pytest.raises(bertwright.InputError, match=words):
        bertwright.check(toy(**changes))


def test_status_tells_from_another_shell(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """Before, between and after."""
    path = toy(finetune={"seeds": 1, "baseline": False})
    assert 0 == call(["status", str(path)])
    assert "has not been run yet" in capsys.readouterr().out
    bertwright.prepare(path)
    assert 0 == call(["status", str(path), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["stages"]
    assert [("tokenizer", "done"), ("overlap", "done"), ("prepare", "done")] == [
        (stage["name"], stage["state"]) for stage in found
    ]


def test_the_stores_commands(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """list names the stages, verify finds a changed byte and exits 1, gc removes what a changed recipe left behind."""
    path = toy(tasks=None, pretrain=None)
    bertwright.prepare(path)
    store = str(path.parent / "bertwright-store")
    assert 0 == call(["store", "list", "--store", store])
    assert "tokenizer" in capsys.readouterr().out
    assert 0 == call(["store", "verify", "--store", store])
    bertwright.prepare(bertwright.load_recipe(path, ["prepare.row_length=12"]))
    assert 0 == call(["store", "gc", "--store", store, "--json"])
    assert 1 == len(json.loads(capsys.readouterr().out.splitlines()[-1])["removed"])
    shard = next(Path(store).glob("stages/prepare-*/train-*.bin"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x07")
    assert 1 == call(["store", "verify", "--store", store])
    assert "has changed since it was sealed" in capsys.readouterr().out
    assert 2 == call(["store", "list", "--store", str(path.parent)])
    assert "is not a store" in capsys.readouterr().err


def test_a_task_without_its_files_is_told_before_text_is_prepared(toy: Toy, tmp_path: Path) -> None:
    """A known task whose folder lacks a file names what is there."""
    (tmp_path / "rte").mkdir()
    path = toy(tasks=[{"name": "rte", "known": "rte", "folder": "rte"}])
    with pytest.raises(DataError, match=r"has no file train.*found: \)"):
        bertwright.run(path)
    with pytest.raises(RecipeError, match=r"tasks\.0: task rte"):
        bertwright.check(path)


def test_public_names_are_listed_once_and_documented() -> None:
    """Every public name loads, has a docstring, and is listed in ``__all__``."""
    for name in bertwright.__all__:
        assert getattr(bertwright, name).__doc__, name
    assert set(bertwright._HOMES) == set(bertwright.__all__)

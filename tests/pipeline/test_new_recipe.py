"""First recipes: empty ones, for a user's files, and from a configuration of ExtremeBERT; and the schema of all."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from bertwright.cli.main import app
from bertwright.errors import InputError
from bertwright.pipeline.from_extremebert import from_extremebert
from bertwright.pipeline.new_recipe import new_recipe
from bertwright.recipe.reading import draft_recipe, load_recipe
from bertwright.recipe.schema import recipe_schema

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def faults(path: Path) -> set[str]:
    """Return the keys at which a recipe has a fault."""
    return {problem.key for problem in draft_recipe(path).problems}


@pytest.fixture
def triage(tmp_path: Path) -> Path:
    """A folder of labelled rows, with rows to score on beside those to train on."""
    folder = tmp_path / "triage"
    folder.mkdir()
    rows = [("the ward was full all night", "beds"), ("no doctor came to see me", "staff")] * 4
    lines = "".join(f"{number},{note},{label}\n" for number, (note, label) in enumerate(rows))
    for name in ("train.csv", "dev.csv"):
        (folder / name).write_text(f"id,note,category\n{lines}")
    return folder


def test_the_first_recipe_needs_only_the_users_folders(tmp_path: Path) -> None:
    """`init` writes a recipe whose only faults are the folders that the user has to fill in."""
    path = tmp_path / "recipe.yaml"
    path.write_text(new_recipe(path).text)
    assert {"prepare.sources.0.path", "tasks.0.train", "tasks.0.sets.dev"} == faults(path)


def test_a_recipe_for_an_encoder_shows_the_choice_of_biases_alone(triage: Path, tmp_path: Path) -> None:
    """As a comment that becomes a choice by itself; a fresh encoder's recipe, where it seldom helps, has none."""
    given, fresh = (
        new_recipe(tmp_path / "r.yaml", tasks=[triage / "train.csv"], encoder=encoder).text
        for encoder in (tmp_path, None)
    )
    assert "trainable" not in fresh
    path = tmp_path / "r.yaml"
    path.write_text(given.replace("# trainable: bitfit", "trainable: bitfit"))
    assert "bitfit" == load_recipe(path).finetune.trainable[0].method


def test_labels_that_a_note_leaves_out_are_counted(tmp_path: Path) -> None:
    """A label that a list of five does not show was not lost."""
    rows = "".join(f'"the words of a row, number {n} of them",{"abcdefg"[n % 7]}\n' for n in range(140))
    (tmp_path / "train.csv").write_text(f"note,kind\n{rows}")
    [note] = [
        one for one in new_recipe(tmp_path / "r.yaml", tasks=[tmp_path / "train.csv"]).notes if "this is a guess" in one
    ]
    assert " and 2 more; this is a guess" in note


def test_a_recipe_for_a_users_files_has_no_fault(triage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are looked for and told, sets are found beside, and paths are as the recipe's folder sees them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    train = Path("triage/train.csv")
    arguments = ["init", "recipes/r.yaml", "--text", str(train), "--task", str(train), "--budget", "5 min"]
    told = CliRunner().invoke(app, arguments)
    assert 0 == told.exit_code, told.output
    assert "the column note is taken for the text" in told.output
    assert "classification, text note, label category, labels beds, staff; this is a guess" in told.output
    recipe = load_recipe("recipes/r.yaml")
    (task,) = recipe.tasks
    assert ("triage", ("note",), "category") == (task.name, task.text, task.label)
    assert {"dev": (triage / "dev.csv").resolve()} == {name: one.file.resolve() for name, one in task.sets.items()}
    assert recipe.prepare is not None
    assert "note" == recipe.prepare.sources[0].column
    assert recipe.pretrain is not None
    assert 300 == recipe.pretrain.budget.amount


def test_a_given_encoder_is_continued_or_only_tuned(triage: Path, tmp_path: Path) -> None:
    """With text it is pretrained at the rate of a continuation, without text not at all; it brings its tokenizer."""
    (tmp_path / "model").mkdir()
    path = tmp_path / "r.yaml"
    path.write_text(new_recipe(path, tasks=[triage / "train.csv"], encoder=tmp_path / "model").text)
    tuned = yaml.safe_load(path.read_text())
    assert {"seed", "encoder", "finetune", "tasks"} == set(tuned)
    path.write_text(new_recipe(path, text=[triage], encoder=tmp_path / "model").text)
    continued = yaml.safe_load(path.read_text())
    assert {"seed", "prepare", "encoder", "pretrain"} == set(continued)
    assert ("adamw", 2e-4) == (continued["pretrain"]["optimizer"], continued["pretrain"]["learning_rate"])


def test_a_file_to_score_on_that_is_missing_is_told(triage: Path, tmp_path: Path) -> None:
    """The recipe then has one fault: the place to fill in."""
    (triage / "dev.csv").unlink()
    (tmp_path / "model").mkdir()
    path = tmp_path / "r.yaml"
    draft = new_recipe(path, tasks=[triage / "train.csv"], encoder=tmp_path / "model")
    path.write_text(draft.text)
    assert any("fill in `sets` of the task" in note for note in draft.notes)
    assert {"tasks.0.sets.dev"} == faults(path)


def test_a_task_alone_asks_for_an_encoder(triage: Path, tmp_path: Path) -> None:
    """There is nothing to train on yet; the recipe has a place for it, and its fault is there."""
    path = tmp_path / "r.yaml"
    draft = new_recipe(path, tasks=[triage / "train.csv"])
    path.write_text(draft.text)
    assert "fill in `encoder.folder`, or begin with --text" in draft.notes[0]
    assert {"encoder.folder"} == faults(path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--text", "nowhere"], "nowhere is not there; name a file or folder that is"),
        (["--budget", "soon"], "--budget: "),
        (["--task", "numbers.csv"], "no column of numbers.csv looks like text"),
        (["--text", "numbers.csv"], "no column of numbers.csv looks like text; write the source by hand"),
        (["--from-extremebert", "numbers.csv"], "numbers.csv is no configuration of ExtremeBERT: found str"),
        (["--from-extremebert", "config.yaml", "--text", "numbers.csv"], "--from-extremebert brings text and tasks"),
    ],
)
def test_what_no_recipe_can_be_made_of_is_told(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers.csv").write_text("a,label\n1,2\n3,4\n5,2\n7,4\n")
    found = CliRunner().invoke(app, ["init", "r.yaml", *arguments])
    assert isinstance(found.exception, InputError), found.output
    assert told in str(found.exception)
    assert not (tmp_path / "r.yaml").exists()


CONFIG = """
SYSTEM: {NUM_GPUS: 2, MAX_MEMORY_IN_GB: 64}
WANDB: {API_KEY: sesame}
DATASET:
  ID: mine
  HUGGINGFACE_DATASETS: [[wikipedia, 20220301.en]]
  CUSTOMIZED_DATASETS: [notes]
PRETRAIN: {NUM_STEPS: 100, LEARNING_RATE: 2e-3, OPTIMIZER: vanilla-sgd, BATCH: 7}
FINETUNE: {MULTIPROCESS_GPU_LIST: [[0, 1], [2, 3]]}
"""


def test_a_configuration_of_extremebert_becomes_a_recipe(tmp_path: Path) -> None:
    """What it says is kept, its key of a tracker is not, and what has no equal is told."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    path = tmp_path / "r.yaml"
    draft = from_extremebert(tmp_path / "config.yaml", beside=tmp_path)
    path.write_text(draft.text)
    assert "sesame" not in draft.text
    for told in (
        "PRETRAIN.BATCH is no key of ExtremeBERT",
        "WANDB.API_KEY was not copied",
        "DATASET.ID have no equal",
        "bert-large-uncased is no folder with tokenizer.json",
        "each of `system.runs` has one",
    ):
        assert any(told in note for note in draft.notes), told
    recipe = load_recipe(path, stand_ins=True)
    assert recipe.pretrain is not None
    assert ("steps", 100) == (recipe.pretrain.budget.unit, recipe.pretrain.budget.amount)
    assert ("sgd", 0.0, 2e-3) == (
        recipe.pretrain.optimizer,
        recipe.pretrain.momentum,
        recipe.pretrain.learning_rate,
    )
    assert ("esd", 4096) == (recipe.pretrain.schedule, recipe.pretrain.batch)
    assert (2, 2, 64 * 10**9) == (recipe.system.devices, recipe.system.runs, recipe.system.memory)
    assert ("bert-preln", "large") == (recipe.encoder.family, recipe.encoder.size)
    assert recipe.prepare is not None
    assert ["wikipedia", None] == [source.hub for source in recipe.prepare.sources]
    assert tmp_path / "notes/*.txt" == recipe.prepare.sources[1].path
    assert 9 == len(recipe.tasks)


def test_switched_off_parts_of_a_configuration_are_left_out(tmp_path: Path) -> None:
    """A machine that only trains, or only prepares."""
    path = tmp_path / "config.yaml"
    path.write_text("DATASET: {ENABLED: false, ID: mine}\nFINETUNE: {ENABLED: false}\n")
    trains = yaml.safe_load(from_extremebert(path, beside=tmp_path).text)
    assert ({"ready": "data/mine"}, "23000 steps") == (trains["prepare"], trains["pretrain"]["budget"])
    assert not {"finetune", "tasks"} & set(trains)
    path.write_text("SYSTEM:\nQUUX:\nPRETRAIN: {ENABLED: false}\nDATASET: {CUSTOMIZED_DATASETS: [a]}\n")
    empty = [note for note in from_extremebert(path, beside=tmp_path).notes if "no key of" in note]
    assert ["QUUX.(nothing) is no key of ExtremeBERT; it was left out"] == empty
    assert "pretrain" not in yaml.safe_load(from_extremebert(path, beside=tmp_path).text)


def test_the_schema_takes_every_shipped_recipe_and_no_misspelt_one() -> None:
    """Short forms and `off` among them, by an implementation of JSON Schema that is not ours."""
    schema = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    assert schema == recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    judge = jsonschema.Draft202012Validator(schema)
    recipes = sorted(RECIPES.rglob("*.yaml"))
    assert len(recipes) > 9
    for path in recipes:
        assert [] == [fault.message for fault in judge.iter_errors(yaml.safe_load(path.read_text()))], path
    written = {"pretrain": {"clip": False, "budget": "5 min"}, "finetune": {"trainable": "bitfit"}, "tasks": []}
    assert judge.is_valid(written)
    assert not judge.is_valid({**written, "pretrane": {}})
    assert not judge.is_valid({**written, "pretrain": {"optimizer": "adam"}})
    assert "Peak learning rate" in json.dumps(schema)

"""What a recipe may say of a task: names of sets, words of labels, and numbers that a training can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bertwright.errors import DataError, RecipeError
from bertwright.recipe.reading import load_recipe, to_yaml
from bertwright.recipe.sections import Recipe
from bertwright.stages.evaluate import _write
from bertwright.tasks.readers import Rows
from bertwright.tasks.scoring import ScoredSet
from bertwright.tasks.task import SetForm


def recipe_of(folder: Path, *tasks: dict[str, Any], **finetune: Any) -> Recipe:
    """Read a recipe of tasks on one file, which need not be more than there."""
    (folder / "a.csv").write_text("text,label\na,x\nb,y\n")
    own = {"name": "t", "train": "a.csv", "sets": {"dev": "a.csv"}, "text": "text"}
    document = {"encoder": {"folder": "."}, "finetune": finetune, "tasks": [{**own, **task} for task in tasks or ({},)]}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    return load_recipe(path)


def faults(folder: Path, *tasks: dict[str, Any], **finetune: Any) -> list[str]:
    """Return what is said against a recipe, without the file's name."""
    with pytest.raises(RecipeError) as caught:
        recipe_of(folder, *tasks, **finetune)
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    "name", ["../../train", "", "a/b", "a\\b", ".hidden", "..", " dev", "dev\n", "C:", "x" * 101, "\u65e5" * 80]
)
def test_a_set_whose_name_is_no_files_is_refused(tmp_path: Path, name: str) -> None:
    """It becomes a file's name in a folder of ours: anything else would be written elsewhere, or after hours not."""
    [message] = faults(tmp_path, {"sets": {name: "a.csv"}})
    assert message.startswith("tasks.0.sets")
    assert "found the name" in message and "choose another" in message


@pytest.mark.parametrize("name", ["dev", "dev_matched", "v0.1 2-b", "d\u00e9v", "\u091a\u0941\u0928\u093e\u0935", 2024])
def test_names_of_sets_are_words_of_any_script(tmp_path: Path, name: str | int) -> None:
    """Letters with their marks, digits, and what parts words."""
    assert [str(name)] == list(recipe_of(tmp_path, {"sets": {name: "a.csv"}}).tasks[0].sets)


def test_answers_are_never_written_outside_of_their_folder(tmp_path: Path) -> None:
    """Whoever hands a set in: its name is checked once more where the file is made."""
    form = SetForm(("text",), "label", ("accuracy",))
    rows = Rows(tmp_path / "a.csv", ("1",), (("a",),), ("x",))
    for name in ("../train", "deep/er"):
        one = ScoredSet(name, rows, np.zeros(1), "classification", form, ("x", "y"), None, None)
        with pytest.raises(DataError, match=r"leads out of .*; rename it in the task's `sets`"):
            _write(tmp_path / "seed-0", one, np.zeros(1), np.zeros((1, 2)))
    assert [] == list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ({"none_label": False, "kind": "multi-label"}, "none_label"),
        ({"positive": True}, "positive"),
        ({"class_weights": {True: 2.0, False: 1.0}}, "class_weights"),
        ({"label": False}, "label"),
        ({"sets": {False: "a.csv"}}, "sets"),
    ],
)
def test_a_word_that_yaml_took_for_true_or_false_is_asked_for_in_quotes(
    tmp_path: Path, task: dict[str, Any], key: str
) -> None:
    """`no` unquoted is false: it would switch a choice off, or name a label that nobody has."""
    [message] = faults(tmp_path, task)
    assert message.startswith(f"tasks.0.{key}")
    assert "which is what YAML makes of" in message and "write the word in quotes" in message


def test_labels_in_a_recipe_are_the_words_of_files(tmp_path: Path) -> None:
    """Numbers without quotes, spaces around a word, and letters in two parts; written out they read back."""
    recipe = recipe_of(
        tmp_path,
        {"positive": 1, "class_weights": {1.0: 2, "cafe\u0301 ": 3}},
        {"name": "m", "kind": "multi-label", "none_label": " none"},
    )
    assert ("1", {"1": 2.0, "caf\u00e9": 3.0}) == (recipe.tasks[0].positive, recipe.tasks[0].class_weights)
    assert "none" == recipe.tasks[1].none_label
    (tmp_path / "again.yaml").write_text(to_yaml(recipe))
    assert recipe.tasks == load_recipe(tmp_path / "again.yaml").tasks


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"class_weights": {}}, "found no label in it; write `balanced` or `{label: number}`, or take it out"),
        ({"class_weights": {"x": 1, " x": 2}}, "the label 'x' stands twice in it"),
        ({"label": ""}, "tasks.0.label: found ''; string should have at least 1 character"),
        ({"label_separator": ""}, "tasks.0.label_separator: found ''; string should have at least 1 character"),
        ({"text": []}, "your own task needs text"),
        ({"name": "x" * 101}, "string should have at most 100 characters"),
    ],
)
def test_what_says_nothing_of_a_task_is_refused(tmp_path: Path, task: dict[str, Any], words: str) -> None:
    """What would be ignored, or fail once the data are read, is told with its key."""
    [message] = faults(tmp_path, task)
    assert words in message


@pytest.mark.parametrize(
    ("finetune", "key", "words"),
    [
        ({"grid": {"learning_rate": [0, 1e-4]}}, "grid.learning_rate.0", "greater than 0"),
        ({"grid": {"epochs": [0, 1]}}, "grid.epochs.0", "greater than 0"),
        ({"grid": {"epochs": [1e9]}}, "grid.epochs.0", "less than or equal to 1000000"),
        ({"grid": {"learning_rate": [float("inf")]}}, "grid.learning_rate.0", "a finite number"),
        ({"grid": {"weight_decay": [float("nan")]}}, "grid.weight_decay.0", "a finite number"),
        ({"grid": {"batch": [10**40]}}, "grid.batch.0", "less than or equal to 1000000000"),
        ({"learning_rate": float("inf")}, "learning_rate", "a finite number"),
        ({"epochs": float("inf")}, "epochs", "a finite number"),
        ({"trainable": {"method": "bitfit", "learning_rate": float("inf")}}, "trainable", "a finite number"),
        ({"halving": True}, "halving", "give a `grid`, or take `halving` out"),
    ],
)
def test_numbers_that_no_training_can_use_are_told_with_their_key(
    tmp_path: Path, finetune: dict[str, Any], key: str, words: str
) -> None:
    """Zero is an amount of a decay and no rate; what is not finite, or more than arrays hold, is nothing."""
    [message] = faults(tmp_path, **finetune)
    assert message.startswith(f"finetune.{key}: ")
    assert words in message


def test_zero_is_a_decay_and_weights_of_labels_are_finite(tmp_path: Path) -> None:
    """A grid may try no decay; an infinite weight leaves nothing of the other labels."""
    recipe = recipe_of(tmp_path, grid={"weight_decay": [0, 0.1]}, halving=True)
    assert recipe.finetune.grid is not None and (0.0, 0.1) == recipe.finetune.grid.weight_decay
    assert any("a finite number" in one for one in faults(tmp_path, {"class_weights": {"x": float("inf")}}))


def test_a_task_called_encoder_cannot_be_started_from(tmp_path: Path) -> None:
    """The word means the encoder itself: which of the two is meant nobody can tell."""
    [message] = faults(tmp_path, {"name": "encoder"}, {"name": "b", "start_from": "encoder"})
    assert (
        "tasks.1.start_from: `encoder` is the encoder itself, and a task is called so too; rename that task" == message
    )
    assert 2 == len(recipe_of(tmp_path, {"name": "encoder"}, {"name": "b"}).tasks)

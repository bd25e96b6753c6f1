"""Labels that look like several in one are hinted at, and never parted without being asked to."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bertwright.errors import DataError
from bertwright.pipeline.plan import resolve_task
from bertwright.pipeline.preflight import look_into_task
from bertwright.recipe.task import Task
from bertwright.tasks.guess import guess_task
from bertwright.tasks.joined_labels import joined_labels

LABELS = (["ward"], ["ward", "lab"], ["lab"], ["bill", "lab"], ["bill"], ["bill", "ward"]) * 2


def written(path: Path, separator: str, labels: tuple[list[str], ...] = LABELS) -> Path:
    """Write a csv whose labels are joined."""
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["text", "label"])
        table.writerows([f"row {number} of {path.stem}", separator.join(row)] for number, row in enumerate(labels))
    return path


def noted(folder: Path, **task: str) -> list[str]:
    """Return what a check notes of a task on the folder's files."""
    files = {"train": str(folder / "train.csv"), "sets": {"dev": str(folder / "dev.csv")}}
    choice = Task.model_validate({"name": "own", "text": "text", **files, **task})
    notes: list[str] = []
    look_into_task(resolve_task(choice), notes)
    return notes


@pytest.mark.parametrize("separator", [";", "|", ",", ", "])
def test_a_check_hints_at_joined_labels(tmp_path: Path, separator: str) -> None:
    """What was found, and which settings say it; with them there is nothing to say."""
    for name in ("train", "dev"):
        written(tmp_path / f"{name}.csv", separator)
    mark = separator.strip()
    own = {} if mark == ";" else {"label_separator": mark}
    settings = " and ".join(f'`{key}: "{value}"`' for key, value in own.items())
    (note,) = noted(tmp_path)
    assert note == (
        f"note: task own: 3 of 6 labels hold {mark!r} between words that other labels hold too, such as "
        f"'bill{separator}lab'; where a row has several labels, set `kind: multi-label`"
        f"{' and ' if own else ''}{settings}"
    )
    assert [] == noted(tmp_path, kind="multi-label", **own)
    if own:
        (note,) = noted(tmp_path, kind="multi-label")
        assert note.endswith(f"where a row has several labels, set {settings}")


def test_a_set_with_a_new_joint_is_refused_with_the_hint(tmp_path: Path) -> None:
    """Its label is in no training row, and why is most likely this."""
    written(tmp_path / "train.csv", "|")
    written(tmp_path / "dev.csv", "|", (["bill", "lab", "ward"],))
    words = r"'bill\|lab\|ward' is in no training row .*set `kind: multi-label` and `label_s"
    with pytest.raises(DataError, match=words):
        noted(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        ("high", "low"),
        ("Arts, Crafts & Sewing", "Toys, Games", "Books"),
        ("Austin, TX", "Dallas, TX", "Boston, MA", "Waco, TX"),
        ("a;", ";b", "a", "b"),
        (";", "|", ","),
    ],
)
def test_names_with_commas_are_names(labels: tuple[str, ...]) -> None:
    """Whose parts stand in no other label, or hardly any."""
    assert joined_labels(labels, "classification") is None


def test_a_guess_hints_and_stays_what_it_is(tmp_path: Path) -> None:
    """On the screen of `tasks --guess` and in the notes of `init`; the lines to paste read one label a row."""
    found = guess_task(written(tmp_path / "train.csv", "|"))
    (note,) = found.notes
    assert note.startswith("column label: 3 of 6 labels hold '|' ") and note in "\n".join(found.lines())
    assert "classification" == found.kind and "multi-label" not in found.recipe()
    assert () == guess_task(written(tmp_path / "other.csv", ";")).notes

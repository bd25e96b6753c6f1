"""Rows of a set that stand in train are counted."""

from __future__ import annotations

from pathlib import Path

from bertwright.pipeline.preflight import look_into_task
from bertwright.tasks.readers import Rows
from bertwright.tasks.shared_rows import shared_note
from bertwright.tasks.task import Task


def rows(path: str, *texts: tuple[str, ...]) -> Rows:
    """Return rows without labels."""
    return Rows(Path(path), tuple(map(str, range(len(texts)))), texts, ())


def test_rows_that_stand_in_train_are_counted() -> None:
    """Word for word, each as often as it stands there; of pairs both texts, in their order."""
    train = rows("train.csv", ("a", "b"), ("c", "d"))
    dev = rows("dev.csv", ("a", "b"), ("a", "b"), ("b", "a"), ("A", "b"), ("c", "e"))
    assert str(shared_note(train, dev)).startswith("dev.csv: 2 of 5 row(s) have the text of a row of train.csv")
    assert shared_note(train, rows("dev.csv", ("b", "a"))) is None


def test_a_check_tells_of_them(tmp_path: Path) -> None:
    """Whatever their labels; a set that shares none is not told of."""
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\nc,0\n")
    (tmp_path / "dev.csv").write_text("text,label\nb,0\nc,0\nd,1\nb,1\n")
    (tmp_path / "test.csv").write_text("text,label\ne,0\nf,1\n")
    sets = {name: tmp_path / f"{name}.csv" for name in ("dev", "test")}
    task = Task("t", "classification", ("text",), "label", tmp_path / "train.csv", sets, ("accuracy",))
    notes: list[str] = []
    look_into_task(task, notes)
    told = "which flatters scores; take them out of one of the two files"
    assert [f"note: task t: dev.csv: 3 of 4 row(s) have the text of a row of train.csv, {told}"] == [
        note for note in notes if "have the text" in note
    ]

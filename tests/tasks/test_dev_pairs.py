"""MRPC from Microsoft's own file: what GLUE scores on is not learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright.errors import DataError
from bertwright.tasks import catalogue
from bertwright.tasks.readers import read_rows
from bertwright.tasks.task import Task

HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
TRAIN = [f"{n % 2}\t{n}\t{n + 100}\tfirst {n}\tsecond {n}\n" for n in range(8)]


def task_in(folder: Path, *, listed: str | None = None, name: str = "msr_paraphrase_train.txt") -> Task:
    """Write Microsoft's file, of which GLUE's dev set has the last two pairs, and GLUE's list where one is wanted."""
    (folder / name).write_text(HEADER + "".join(TRAIN))
    (folder / "dev.tsv").write_text(HEADER + "".join(TRAIN[-2:]))
    if listed is not None:
        (folder / "dev_ids.tsv").write_text(listed)
    return catalogue.locate("mrpc", train=folder / name, sets={"dev": folder / "dev.tsv"})


def test_pairs_of_dev_are_left_out_where_the_list_lies_beside(tmp_path: Path) -> None:
    """They are counted; what decides is in the task's options, so that a run without the list is another one."""
    task = task_in(tmp_path, listed="6\t106\n7\t107\n9\t109\n")
    rows = read_rows(task, task.train)
    assert [f"first {n}" for n in range(6)] == [text for text, _ in rows.texts]
    assert "msr_paraphrase_train.txt: 2 pairs are of GLUE's dev set, as dev_ids.tsv says, and left out" in rows.notes
    assert 2 == len(read_rows(task, task.sets["dev"]))
    again = Task.from_options(task.options(), task.train, task.sets)
    assert rows == read_rows(again, task.train)


def test_without_the_list_it_is_said(tmp_path: Path) -> None:
    """All pairs are learnt from, and a note tells which file would part them; the task's options are as ever."""
    task = task_in(tmp_path)
    rows = read_rows(task, task.train)
    assert 8 == len(rows)
    assert any("holds the pairs of GLUE's dev set too" in note and "dev_ids.tsv" in note for note in rows.notes)
    assert "without" not in task.options()


def test_glue_s_own_training_file_is_parted_already(tmp_path: Path) -> None:
    """Neither is anything left out nor said, with the list beside it as in GLUE's folder."""
    task = task_in(tmp_path, listed="6\t106\n", name="train.tsv")
    rows = read_rows(task, task.train)
    assert (8, ()) == (len(rows), rows.notes)
    assert "without" not in task.options()


@pytest.mark.parametrize("listed", ["", "6,106\n", "6\t106\t7\n"])
def test_a_list_of_another_form_is_refused(tmp_path: Path, listed: str) -> None:
    """It would leave out nothing in silence."""
    with pytest.raises(DataError, match=r"dev_ids\.tsv is not GLUE's list of MRPC's dev pairs.*mend it"):
        task_in(tmp_path, listed=listed)

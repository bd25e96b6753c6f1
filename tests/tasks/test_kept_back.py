"""Training rows that are kept back for exit thresholds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bertwright.errors import DataError
from bertwright.tasks.kept_back import kept_back
from bertwright.tasks.readers import read_kept_back, read_rows
from bertwright.tasks.task import Task


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("classification", ["a", "b", "b", "b"] * 250),
        ("multi-label", [("a",), ("a", "b"), (), ("c",)] * 250),
        ("regression", [number / 7 for number in range(1000)]),
    ],
)
def test_rows_of_every_kind_are_parted(kind: str, labels: list[str | float | tuple[str, ...]]) -> None:
    """At least 200, each once on one side, always the same; classes and sizes in their shares."""
    learnt, kept = kept_back(labels, kind, 0.1)
    assert (800, 200) == (len(learnt), len(kept))
    assert list(range(1000)) == sorted([*learnt, *kept])
    assert (learnt, kept) == kept_back(labels, kind, 0.1)
    if kind == "classification":
        assert 50 == sum(labels[row] == "a" for row in kept)


def test_a_file_s_rows_are_learnt_from_or_kept_back(tmp_path: Path) -> None:
    """Both sides with a note; a set's file stays whole; where each row is the only one of its label none can be."""
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": f"t{n}", "label": "ab"[n % 2]}) + "\n" for n in range(40)))
    task = Task("t", "classification", ("text",), "label", path, {}, ("accuracy",), keep_back=0.25)
    learnt, kept = read_rows(task, path), read_kept_back(task)
    assert (20, 20) == (len(learnt), len(kept))
    assert 40 == len({*learnt.texts, *kept.texts})
    assert "train.jsonl: 20 of 40 rows are kept back, for exit thresholds alone" in learnt.notes
    assert (5, 5) == (
        len(read_rows(replace(task, train_rows=10), path)),
        len(read_kept_back(replace(task, train_rows=10))),
    )
    (tmp_path / "dev.jsonl").write_text(path.read_text())
    assert 40 == len(read_rows(task, tmp_path / "dev.jsonl"))
    path.write_text("".join(json.dumps({"text": f"t{n}", "label": f"l{n}"}) + "\n" for n in range(6)))
    with pytest.raises(
        DataError, match=r"of its 6 row\(s\) none can be kept back for exit thresholds: at most half are"
    ):
        read_kept_back(task)

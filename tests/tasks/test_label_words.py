"""Labels that mean one thing are one label, however a file writes them; what is no label is told."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.tasks.label_words import numbering, plain, word_of
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows, read, read_rows
from bertwright.tasks.task import Task


def rows_of(path: Path, labels: Iterable[Any], kind: str = "classification", **changes: Any) -> Rows:
    """Write jsonl with these labels, and read it."""
    path.write_text("".join(json.dumps({"text": f"a {n}", "label": label}) + "\n" for n, label in enumerate(labels)))
    return read(path, text=["text"], label="label", kind=kind, **changes)


def notes_of(rows: Rows, kind: str = "classification") -> tuple[str, ...]:
    """Return what is noted of the labels of training rows."""
    return LabelMap.from_rows(rows, kind).notes


@pytest.mark.parametrize(
    ("value", "word"),
    [
        *(
            (" pos ", "pos"),
            ("cafe\u0301", "caf\u00e9"),
            (1, "1"),
            (1.0, "1"),
            (-0.0, "0"),
            (1.5, "1.5"),
            ("1.0", "1.0"),
        ),
        *((True, "true"), (False, "false"), (1e300, "1e+300"), (float("inf"), "inf"), (Decimal("2.00"), "2")),
        *((b"x", None), ({"a": 1}, None), (["a"], None), (None, None)),
    ],
)
def test_a_cell_s_word(value: Any, word: str | None) -> None:
    """Spaces, the parts of a letter and the type of a number are none of it."""
    assert word == word_of(value)


@given(st.one_of(st.text(), st.booleans(), st.integers(), st.floats(allow_nan=False)))
def test_a_word_is_its_own_word(value: Any) -> None:
    """Read once more, as from what was written, it stays the same; so does its plain form."""
    word = word_of(value)
    assert word is not None
    assert (word, plain(word)) == (word_of(word), plain(plain(word)))


def test_one_label_in_several_types_is_one(tmp_path: Path) -> None:
    """Numbers with and without a fraction or quotes, spaces, and accents in one part or two."""
    rows = rows_of(tmp_path / "a.jsonl", [1, 0, "1", "0 ", 1.0, 0.0, "caf\u00e9", "cafe\u0301"])
    assert ("0", "1", "caf\u00e9") == LabelMap.from_rows(rows, "classification").names
    several = rows_of(tmp_path / "m.jsonl", ["caf\u00e9; x", ["cafe\u0301", " x "], 1.0, "1"], "multi-label")
    assert (("caf\u00e9", "x"), ("caf\u00e9", "x"), ("1",), ("1",)) == several.labels


@pytest.mark.parametrize(
    ("train", "dev"),
    [
        ([1.0, 0.0], [1, 0]),
        (["1.0", "0.0"], [1, 0]),
        (["1", "0"], ["1.0", "0.00"]),
        ([True, False], ["True", "false"]),
        (["TRUE", "FALSE"], [True, False]),
    ],
)
def test_a_set_may_write_labels_otherwise_than_train(tmp_path: Path, train: list[Any], dev: list[Any]) -> None:
    """Tables write a column with gaps as fractions, and true in capitals: the label is the same."""
    labels = LabelMap.from_rows(rows_of(tmp_path / "train.jsonl", train), "classification")
    assert [1, 0] == labels.numbers(rows_of(tmp_path / "dev.jsonl", dev)).tolist()
    assert labels.same([str(label) for label in sorted(train)])
    assert not labels.same(["0", "2"])


def test_what_could_be_two_labels_is_not_guessed() -> None:
    """A form that two labels share means neither; a code with zeros in front is no number."""
    number_of = numbering(["1.0", "1.00", "007", "x"])
    assert [0, 1, 2, None, None] == [number_of(name) for name in ("1.0", "1.00", "007", "1", "7")]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["High", "high", "low"], "labels 'High' and 'high' differ only in case"),
        (["not ok", "not  ok", "ok"], "labels 'not  ok' and 'not ok' differ only in"),
        (["1", "1.0", "2"], "labels '1' and '1.0' differ only in"),
        ([n + end for n in "abcde" for end in ("x", "X")], "'cX' and 'cx', ... 5 such groups differ only in"),
        ([True, False, 1, 0], "true and false in some rows and 0 and 1 in others (0, 1, false, true)"),
        ([True, 0], "(0, true)"),
    ],
)
def test_labels_that_look_like_one_are_noted(tmp_path: Path, labels: list[Any], words: str) -> None:
    """They are learnt apart, as the file says, and a hint tells that this is seldom meant."""
    [note] = notes_of(rows_of(tmp_path / "a.jsonl", labels * 2))
    assert words in note
    assert "write" in note and "alike" in note


def test_labels_that_differ_are_not_noted(tmp_path: Path) -> None:
    """Numbers among words, a truth without digits, several words."""
    assert () == notes_of(rows_of(tmp_path / "a.jsonl", ["2", "3", "ok", True, "not ok", "1.5"] * 2))


def test_labels_of_single_rows_are_counted_and_few_are_shown(tmp_path: Path) -> None:
    """A column of ids gives one short note that asks for the column; a few rare labels are named."""
    [note] = notes_of(rows_of(tmp_path / "a.jsonl", [f"case number {n} {'x' * 200}" for n in range(1000)]))
    assert "1,000 of 1,000 labels occur in one training row only, as ids or free text would" in note
    assert "is `label` the column with the labels?" in note
    assert len(note) < 600
    [note] = notes_of(rows_of(tmp_path / "b.jsonl", [*"aabbccddeeffgghhiijjkkllmmnn", *map(str, range(13))]))
    assert "label 0, 1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, ... 13 in all occurs in one training row only" == note


def test_nan_is_no_label_of_several(tmp_path: Path) -> None:
    """Tables write it into an empty cell; in a list, as nothing else, it is a fault."""
    assert ((), ("a",), ()) == rows_of(tmp_path / "a.jsonl", [float("nan"), "a", None], "multi-label").labels


@pytest.mark.parametrize("label", [["", "a"], [" "], ["a", float("nan")], ["a", None], {"a": 1}, [["a"]], [{"a": 1}]])
def test_what_is_no_list_of_labels_is_told(tmp_path: Path, label: Any) -> None:
    """Nothing becomes a label by being printed."""
    with pytest.raises(DataError, match=r"a\.jsonl, row 2: column 'label' holds .*; expected a list of labels"):
        rows_of(tmp_path / "a.jsonl", ["a", label], "multi-label")


@pytest.mark.parametrize("kind", ["classification", "multi-label"])
def test_bytes_are_no_label(tmp_path: Path, kind: str) -> None:
    """A column of binary values would give labels called b'x'."""
    pq.write_table(pa.table({"text": ["a"], "label": [b"x"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 1: column 'label' holds b'x'[,;] expected a"):
        read(tmp_path / "a.parquet", text=["text"], label="label", kind=kind)


@pytest.mark.parametrize("label", [1e39, -1e39, 10**400])
def test_a_number_that_fp32_does_not_hold_is_told_with_its_row(tmp_path: Path, label: float) -> None:
    """In train it is an infinite loss, and in a set a score that is none."""
    with pytest.raises(DataError, match=r"row 2: column 'label' holds a number too large to use; scale the labels"):
        rows_of(tmp_path / "a.jsonl", [1.5, label], "regression")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1.5, 2e7, 0.5], "labels reach 2e+07, and numbers near 1 are learnt best; scale them"),
        ([1.5, -2e7, 0.5], "labels reach -2e+07"),
        ([n / 40 for n in range(40)] + [1e5], "label 100000 lies 3"),
    ],
)
def test_labels_of_an_extreme_spread_are_noted(tmp_path: Path, labels: list[float], words: str) -> None:
    """What is a million, or ten thousand deviations away, is most of the loss."""
    assert any(words in note for note in notes_of(rows_of(tmp_path / "a.jsonl", labels, "regression"), "regression"))


@pytest.mark.parametrize("labels", [[1.0], [0.0, 0.0], [1, 2, 3, 50], list(np.linspace(-1e5, 1e5, 30))])
def test_usual_numbers_are_not_noted(tmp_path: Path, labels: list[float]) -> None:
    """Few rows, equal ones, and an outlier as data have them."""
    assert () == notes_of(rows_of(tmp_path / "a.jsonl", labels, "regression"), "regression")


def drawn(path: Path, labels: list[str], count: int) -> Rows:
    """Read so many of a file's rows, as `train_rows` asks."""
    rows_of(path, labels)
    return read_rows(Task("t", "classification", ("text",), "label", path, {}, ("accuracy",), train_rows=count), path)


def test_labels_that_train_rows_leaves_out_are_blamed_on_it(tmp_path: Path) -> None:
    """The file has them: the note, the fault of a set and that of a single label name the setting."""
    labels = [f"l{n % 6}" for n in range(40)]
    with pytest.raises(
        DataError, match=r"the 1 row\(s\) that `train_rows` draws hold 1 of 6 labels.*raise `train_rows`"
    ):
        drawn(tmp_path / "a.jsonl", labels, 1)
    rows = drawn(tmp_path / "a.jsonl", labels, 4)
    assert "none of them has the label(s) l1, l2" in rows.notes[-1]
    with pytest.raises(DataError, match="correct it, or add training rows with it, or raise `train_rows`"):
        LabelMap.from_rows(rows, "classification").numbers(rows_of(tmp_path / "dev.jsonl", labels))


def test_rows_without_text_are_counted(tmp_path: Path) -> None:
    """In any file: a model answers them by the commonest label."""
    (tmp_path / "a.csv").write_text("text,more,label\n ,,x\na,,y\n,b,y\n")
    rows = read(tmp_path / "a.csv", text=["text", "more"], label="label", kind="classification")
    assert ("a.csv: 1 of 3 row(s) have no text; take them out, or name the column with the text",) == rows.notes
    full = read(tmp_path / "a.csv", text=["label"], label="label", kind="classification")
    assert () == full.notes


def test_texts_that_are_mostly_numbers_are_noted(tmp_path: Path) -> None:
    """More than half of them: most likely another column was meant."""
    for few, noted in ((4, ()), (5, ("a.csv: 5 of 9 texts in 'text' are numbers; is that the column with the text?",))):
        content = "".join(f"{n if n < few else 'word'},{'xy'[n % 2]}\n" for n in range(9))
        (tmp_path / "a.csv").write_text(f"text,label\n{content}")
        assert noted == read(tmp_path / "a.csv", text=["text"], label="label", kind="classification").notes

"""Reading a task's rows, labels and batches."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import DataError, InputError
from bertwright.tasks import catalogue
from bertwright.tasks.batches import TrainBatches, collate, encode, in_order_of_length
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows, read, read_rows
from bertwright.tasks.task import Task
from bertwright.training.order import Place


class Letters:
    """A tokenizer whose tokens are letters."""

    cls_id, sep_id, pad_id = 1, 2, 0

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Return a number a letter."""
        return [[ord(letter) for letter in text] for text in texts]


def rows_of(path: Path, kind: str = "classification", **changes: str) -> Rows:
    """Read a file with columns text and label."""
    return read(path, text=["text"], label="label", kind=kind, **changes)


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    """csv, tsv, jsonl and parquet, packed or not, hold the same two rows."""
    contents = {
        "a.csv": 'text,label\n"one, ""two""",x\nthree,y\n',
        "a.tsv": 'text\tlabel\none, "two"\tx\nthree\ty\n',
        "a.jsonl": '{"text": "one, \\"two\\"", "label": "x"}\n\n{"text": "three", "label": "y"}\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text("\ufeff" + content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    pq.write_table(pa.table({"text": ['one, "two"', "three"], "label": ["x", "y"]}), tmp_path / "a.parquet")
    expected = ((('one, "two"',), ("three",)), ("x", "y"))
    for path in tmp_path.iterdir():
        rows = rows_of(path)
        assert expected == (rows.texts, rows.labels), path.name


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "is empty; a csv file needs a header"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.csv", "txt,label\na,x\n", "no column 'text'; did you mean 'txt'? (found: txt, label)"),
        ("a.csv", "text,text,label\na,b,x\n", "two columns are called 'text'"),
        ("a.csv", "text,label\na\n", "row 1: found 1 cells, the header has 2"),
        ("a.csv", 'text,label\n"a,x\n', "not valid csv"),
        ("a.csv", "text,label\na,\n", "row 1: column 'label' is empty; every row needs a label"),
        ("a.jsonl", '{"text": "a"}\n', "row 1: no column 'label'"),
        ("a.jsonl", "[1]\n", "found list, expected a JSON object"),
        ("a.jsonl", "{\n", "row 1: not valid JSON"),
        ("a.jsonl", '{"text": 3, "label": "x"}\n', "column 'text' holds 3, not text"),
        ("a.jsonl", '{"text": "a", "label": null}\n', "column 'label' is empty"),
        ("a.txt", "a\n", "found a txt file"),
        ("a.parquet", "nonsense", "cannot be read as parquet"),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, name: str, content: str, words: str) -> None:
    """What was found, where, and what was expected."""
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        rows_of(tmp_path / name)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_bytes_that_are_not_utf8_name_file_and_offset(tmp_path: Path) -> None:
    """The first wrong byte has a place."""
    (tmp_path / "a.csv").write_bytes(b"text,label\ncaf\xe9,x\n")
    with pytest.raises(DataError, match=r"a\.csv.*14"):
        rows_of(tmp_path / "a.csv")


def test_numbers_and_lists_of_labels(tmp_path: Path) -> None:
    """Regression reads numbers and refuses words; multi-label reads lists and parted words."""
    (tmp_path / "n.csv").write_text("text,label\na,1.5\nb,-2\n")
    assert (1.5, -2.0) == rows_of(tmp_path / "n.csv", "regression").labels
    (tmp_path / "w.csv").write_text("text,label\na,high\n")
    with pytest.raises(DataError, match="'high' is not a number"):
        rows_of(tmp_path / "w.csv", "regression")
    (tmp_path / "m.csv").write_text("text,label\na,x; y\nb,none\nc,\n")
    assert (("x", "y"), (), ()) == rows_of(tmp_path / "m.csv", "multi-label", none_label="none").labels
    (tmp_path / "m.jsonl").write_text('{"text": "a", "label": ["y", "x"]}\n{"text": "b", "label": []}\n')
    rows = rows_of(tmp_path / "m.jsonl", "multi-label")
    np.testing.assert_array_equal([[1, 1], [0, 0]], LabelMap.from_rows(rows, "multi-label").numbers(rows))


def test_labels_are_numbered_by_name_and_strangers_refused(tmp_path: Path) -> None:
    """The map is made of training rows, sorted; a label of dev that is not in it is named with its row."""
    (tmp_path / "train.csv").write_text("text,label\na,no\nb,yes\nc,no\nd,maybe\n")
    (tmp_path / "dev.csv").write_text("id,text,label\nq7,a,perhaps\n")
    labels = LabelMap.from_rows(rows_of(tmp_path / "train.csv"), "classification")
    assert ("maybe", "no", "yes") == labels.names
    assert ("label maybe, yes occurs in one training row only",) == labels.notes
    with pytest.raises(DataError, match=r"id q7: label 'perhaps' is in no training row \(known: maybe, no, yes\)"):
        labels.numbers(rows_of(tmp_path / "dev.csv"))
    (tmp_path / "one.csv").write_text("text,label\na,no\nb,no\n")
    with pytest.raises(DataError, match="nothing to tell apart"):
        LabelMap.from_rows(rows_of(tmp_path / "one.csv"), "classification")


def test_a_metric_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Metrics belong to kinds, and F1 needs to know what counts as positive."""
    common = {"name": "t", "text": ("text",), "label": "label", "train": tmp_path, "sets": {}}
    with pytest.raises(InputError, match="'spearman' is not one for classification; choose from accuracy"):
        Task(kind="classification", metrics=("spearman",), **common)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="f1 needs `positive`"):
        Task(kind="classification", metrics=("f1",), **common)  # type: ignore[arg-type]


def test_pairs_are_laid_out_with_segments() -> None:
    """[CLS] a [SEP] b [SEP] with segments 0 and 1; RoBERTa's form has two separators between."""
    encoded = encode([("ab", "c")], np.zeros(1), Letters(), max_length=20)
    assert [1, 97, 98, 2, 99, 2] == encoded.ids[0].tolist()
    assert [0, 0, 0, 0, 1, 1] == encoded.segments[0].tolist()
    assert [1, 97, 98, 2, 2, 99, 2] == encode([("ab", "c")], np.zeros(1), Letters(), max_length=20, separators=2).ids[
        0
    ].tolist()


@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, 30), second=st.integers(0, 30), room=st.integers(6, 40))
def test_long_pairs_lose_from_the_longer_part(first: int, second: int, room: int) -> None:
    """A pair is cut exactly to the room, token by token from its longer part, and counted."""
    encoded = encode([("a" * first, "b" * second)], np.zeros(1), Letters(), max_length=room)
    sizes = [first, second]
    while sum(sizes) > room - 3:
        sizes[0 if sizes[0] > sizes[1] else 1] -= 1
    row = encoded.ids[0].tolist()
    assert sorted(sizes) == sorted([row.count(97), row.count(98)])
    assert int(first + second > room - 3) == encoded.cut


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 60), batch=st.integers(1, 16), micro=st.integers(1, 8), world=st.integers(1, 3))
def test_an_epoch_of_batches_holds_every_row_once(count: int, batch: int, micro: int, world: int) -> None:
    """Over all steps, ranks and micro-batches of an epoch, each row comes once; another epoch is in another order."""
    labels = np.arange(count)
    encoded = encode([("a" * (1 + i % 7),) for i in range(count)], labels, Letters(), max_length=16)
    batches = TrainBatches(encoded, batch=batch, micro_batch=micro, seed=3)
    seen = [
        label
        for step in range(batches.steps_per_epoch)
        for rank in range(world)
        for part in batches.step(Place(step), rank, world)
        for label in part["labels"].tolist()
    ]
    assert list(range(count)) == sorted(seen)


def test_rows_of_like_length_share_a_batch() -> None:
    """Padding is a few per cent of what it would be in file order, and is left out of the count of tokens."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 60, 1000)
    encoded = encode([("a" * n,) for n in lengths], np.zeros(1000), Letters(), max_length=64)
    batches = TrainBatches(encoded, batch=16, micro_batch=16, seed=0)
    parts = [part for step in range(batches.steps_per_epoch) for part in batches.step(Place(step), 0, 1)]
    slots = sum(part["ids"].numel() for part in parts)
    assert int(lengths.sum() + 2000) == sum(part["tokens"] for part in parts)
    assert slots < 1.06 * (lengths.sum() + 2000)


def test_masks_stand_only_where_something_was_padded() -> None:
    """Equal rows have no mask; others are true on real tokens; evaluation gives all rows back by number."""
    encoded = encode([("ab",), ("abcd",), ("xy",)], np.arange(3), Letters(), max_length=16)
    assert collate(encoded, np.array([0, 2]))["mask"] is None
    mask = collate(encoded, np.array([0, 1]))["mask"]
    assert [4, 6] == mask.sum(dim=1).tolist()
    assert [1, 0, 2] == [row for chosen, _ in in_order_of_length(encoded, 2) for row in chosen.tolist()]


def test_batches_have_few_widths() -> None:
    """Eight widths a doubling, a ninth of padding at most, none above the longest row, and none for a row alone."""
    encoded = encode([("a" * n,) for n in range(1, 250)], np.zeros(249), Letters(), max_length=252)
    wide = {row + 3: collate(encoded, np.array([row, row]))["ids"].shape[1] for row in range(249)}
    assert all(0 <= width - length <= width / 9 for length, width in wide.items())
    assert [8, 8, 8, 8] == [len({w for w in wide.values() if 2**n <= w < 2 ** (n + 1)}) for n in (3, 4, 5, 6)]
    assert {251: 251, 249: 251, 240: 240, 225: 240, 67: 72} == {n: wide[n] for n in (251, 249, 240, 225, 67)}
    assert (1, 67) == collate(encoded, np.array([64]))["ids"].shape


@pytest.mark.parametrize(
    ("name", "train", "sets", "labels"),
    [
        ("rte", 2490, {"dev": 277}, 2),
        ("mrpc", 3668, {"dev": 408}, 2),
        ("cola", 8551, {"dev": 1043}, 2),
        ("stsb", 5749, {"dev": 1500}, 1),
        ("trec", 5452, {"test": 500}, 6),
        ("hoc", 12119, {"dev": 1798, "test": 3547}, 10),
    ],
)
def test_known_tasks_are_read_whole(
    shared_data: Path, name: str, train: int, sets: dict[str, int], labels: int
) -> None:
    """The six known tasks have the rows and labels that their publishers say."""
    task = catalogue.locate(name, shared_data / "tasks" / name)
    rows = read_rows(task, task.train)
    found = LabelMap.from_rows(rows, task.kind)
    assert (train, labels) == (len(rows), found.outputs)
    others = {part: read_rows(task, path) for part, path in task.sets.items()}
    assert sets == {part: len(one) for part, one in others.items()}
    assert all(len(found.numbers(one)) == len(one) for one in others.values())


def test_scores_that_were_taken_for_classes_are_told_of_regression(tmp_path: Path) -> None:
    """Where all labels are numbers; and of many known labels the first are enough to see what they are like."""
    rows = "".join(f"a,{n / 10}\n" for n in range(30))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "dev.csv").write_text("text,label\na,4.667\n")
    labels = LabelMap.from_rows(rows_of(tmp_path / "train.csv"), "classification")
    with pytest.raises(DataError, match=r"1\.1, \.\.\. 30 in all\).*numbers are learnt with `kind: regression`"):
        labels.numbers(rows_of(tmp_path / "dev.csv"))

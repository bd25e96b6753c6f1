"""A guess at a file's columns: shown with what it rests on, and used by nothing but a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from bertwright.cli.main import call
from bertwright.errors import DataError
from bertwright.recipe.reading import draft_recipe
from bertwright.recipe.task import Task
from bertwright.tasks.catalogue import CATALOGUE
from bertwright.tasks.guess import guess_task
from bertwright.tasks.readers import read


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows, and give the path back."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("rows", "text", "label", "kind", "counts"),
    [
        (
            [
                {"nr": n, "note": f"the patient is {n} and well", "urgency": "low" if n % 3 else "high"}
                for n in range(9)
            ],
            ("note",),
            "urgency",
            "classification",
            {"low": 6, "high": 3},
        ),
        (
            [{"question": f"why is {n} so", "answer": f"it is because of {n}", "label": n % 2} for n in range(9)],
            ("question", "answer"),
            "label",
            "classification",
            {"0": 5, "1": 4},
        ),
        (
            [{"a": f"one {n} two", "b": f"three {n} four", "score": n / 7} for n in range(9)],
            ("a", "b"),
            "score",
            "regression",
            {},
        ),
        (
            [
                {"text": f"one {n} two", "topics": ["x"] if n % 2 else ["x", "y"], "labels": ["x"] * (n % 2)}
                for n in range(9)
            ],
            ("text",),
            "labels",
            "multi-label",
            {"x": 4},
        ),
        (
            [{"text": f"one {n} two", "tags": "x; y" if n % 2 else "y"} for n in range(9)],
            ("text",),
            "tags",
            "multi-label",
            {"y": 9, "x": 4},
        ),
        (
            [
                {"title": f"Case {n}", "body": f"A long story of {n} that goes on for a while.", "class": "ab"[n % 2]}
                for n in range(9)
            ],
            ("body",),
            "class",
            "classification",
            {"a": 5, "b": 4},
        ),
    ],
)
def test_columns_are_guessed(
    tmp_path: Path, rows: list[dict[str, Any]], text: tuple[str, ...], label: str, kind: str, counts: dict[str, int]
) -> None:
    """Text by its words, label by its name or few values, kind by its values."""
    found = guess_task(jsonl(tmp_path / "a.jsonl", rows))
    assert (text, label, kind, counts) == (found.text, found.label, found.kind, dict(found.counts))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert text == guess_task(tmp_path / "a.parquet").text


def test_a_guess_is_shown_with_lines_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every column with what stands in it, the labels, some rows; and the lines read as a recipe's task."""
    (tmp_path / "a.csv").write_text("nr;text;label\n" + "".join(f"{n};a b c {n};{'xy'[n % 2]}\n" for n in range(6)))
    (tmp_path / "dev.csv").write_text("text,label\na,x\n")
    assert 0 == call(["tasks", "--guess", str(tmp_path / "a.csv")])
    shown = capsys.readouterr().out
    for words in (
        "6 rows looked at",
        "note: its cells are parted by semicolons",
        "  nr     numbers, 6 different",
        "  text   text of 4.0 words, 6 different",
        "text: text; label: label; kind: classification",
        "labels: x (3), y (3)",
        "  x | a b c 0",
        "This is a guess.",
    ):
        assert words in shown
    pasted = shown[shown.index("tasks:") :].replace("FILE TO SCORE ON", str(tmp_path / "dev.csv"))
    task = Task.model_validate(yaml.safe_load(pasted)["tasks"][0])
    assert (("text",), "label", tmp_path / "a.csv") == (task.text, task.label, task.train)
    (tmp_path / "recipe.yaml").write_text("encoder: {folder: .}\n" + shown[shown.index("tasks:") :])
    assert "FILE TO SCORE ON is not there" in str(draft_recipe(tmp_path / "recipe.yaml").problems)


def test_long_texts_are_shortened_and_the_word_for_no_label_is_named(tmp_path: Path) -> None:
    """60 letters of each text; `none` among several labels is most likely no label."""
    rows = [{"text": f"{n} " * 50, "labels": "none" if n % 2 else "x; y"} for n in range(8)]
    lines = guess_task(jsonl(tmp_path / "a.jsonl", rows)).lines()
    assert f"  x; y | {('0 ' * 50)[:57]}..." in lines
    assert "  none_label: none" in lines


def test_what_cannot_be_guessed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No column with words, none with few values: no lines to paste, but what to name."""
    path = jsonl(tmp_path / "a.jsonl", [{"x": n, "y": n + 0.5} for n in range(9)])
    assert 0 == call(["tasks", "--guess", str(path), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert ([], None) == (found["text"], found["recipe"])
    (tmp_path / "z.csv").write_text("text\n" + "".join(f"a b {n}\n" for n in range(9)))
    assert (
        "no column looks like label; name `text` and `label` of the task yourself"
        in guess_task(tmp_path / "z.csv").lines()
    )
    (tmp_path / "n.csv").write_text("balan kore,cardio\nmish x,neuro\nbalan y,ophthalmo\n")
    assert guess_task(tmp_path / "n.csv").lines()[-1].endswith("where it is a row, write a line with names above it")
    (tmp_path / "o.jsonl").write_text("{}\n{}\n")
    with pytest.raises(DataError, match=r"o\.jsonl has no rows to look at"):
        guess_task(tmp_path / "o.jsonl")
    path = jsonl(tmp_path / "b.jsonl", [{}, *({"text": f"a b {n}", "label": "xy"[n % 2]} for n in range(9))])
    assert ("text",) == guess_task(path).text
    (tmp_path / "e.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"e\.csv has no rows to look at"):
        guess_task(tmp_path / "e.csv")


@pytest.mark.parametrize(
    "row", ['{"a": "b \\ud800", "c": "x"}', '{"a": "b", "c": ["x", "\\ud800"]}', '{"\\ud800": "b"}']
)
def test_half_a_character_is_told_and_not_printed(tmp_path: Path, row: str) -> None:
    """No terminal takes it, nor does a text, a list of labels or a recipe."""
    (tmp_path / "a.jsonl").write_text(row + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl, row 1: column .* holds half a character"):
        guess_task(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "odd"),
    [
        ("a.csv", "balan kore,cardio\nmish x,neuro\nbalan y,cardio\n", "'cardio'"),
        ("a.csv", "the patient came in late again today,x\na,y\n", "'the patient came in late again today'"),
        ("a.tsv", "3.5\ta b\n1\tc d\n", "'3.5'"),
    ],
)
def test_a_file_without_header_is_noted(tmp_path: Path, name: str, content: str, odd: str) -> None:
    """Its first row would give the columns their names, and be lost."""
    (tmp_path / name).write_text(content)
    [note] = guess_task(tmp_path / name).notes
    assert f"and holds {odd}; where it is a row, write a line with names above it" in note
    (tmp_path / name).write_text("text,label\na b,x\nb c,y\n".replace(",", "\t" if name == "a.tsv" else ","))
    assert () == guess_task(tmp_path / name).notes


@pytest.mark.parametrize(
    ("name", "sign", "do"),
    [
        ("a.csv", "\t", "name the file .tsv, or write it with commas"),
        ("a.csv", "|", "write it with commas, or as jsonl"),
        ("a.tsv", ",", "name the file .csv"),
    ],
)
def test_cells_parted_by_another_sign_are_hinted_at(tmp_path: Path, name: str, sign: str, do: str) -> None:
    """One column with both names in its own: in a guess, and where a task lacks its column."""
    (tmp_path / name).write_text("".join(f"{a}{sign}{b}\n" for a, b in [("text", "label"), ("a b", "x"), ("b c", "y")]))
    assert f"its cells look parted by {sign!r}: {do}" in guess_task(tmp_path / name).notes
    with pytest.raises(DataError, match=r"no column 'text'.*; its cells look parted by"):
        read(tmp_path / name, text=["text"], label="label", kind="classification")


def test_a_folder_or_a_foreign_suffix_is_told_in_the_words_of_tasks(tmp_path: Path) -> None:
    """A task has no `format`; a folder is not a file whose suffix says nothing."""
    (tmp_path / "dev").mkdir()
    with pytest.raises(DataError, match=r"dev is a folder, and rows are read from a file; name the file in it"):
        guess_task(tmp_path / "dev")
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(DataError, match=r"Rows are csv, tsv, jsonl or parquet: write them as one of these"):
        guess_task(tmp_path / "a.xlsx")


def test_labels_are_counted_as_a_task_reads_them(tmp_path: Path) -> None:
    """Fractions of whole numbers and truth have one form."""
    rows = [{"text": f"one {n} two", "label": [True, "true", 1, 1.0][n % 4]} for n in range(8)]
    assert {"true": 4, "1": 4} == dict(guess_task(jsonl(tmp_path / "a.jsonl", rows)).counts)


def test_the_list_names_every_task_with_labels_metrics_and_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    """Three lines a task for a terminal, the same as JSON."""
    assert 0 == call(["tasks"])
    lines = capsys.readouterr().out.splitlines()
    assert 3 * len(CATALOGUE) == len(lines)
    assert "mrpc: classification of sentence1, sentence2; label: not_equivalent, equivalent" in lines
    assert "    scored by f1, accuracy; reads train, dev; official rows: train 3,668, dev 408, test 1,725" in lines
    assert "    scored by matthews, accuracy; reads test; official rows: test 1,104" in lines
    assert "stsb: regression of sentence1, sentence2; label: a number" in lines
    assert 0 == call(["tasks", "--json"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["tasks"]
    assert list(CATALOGUE) == [row["name"] for row in rows]
    assert {"train": 635, "dev": 71, "test": 146} == next(row["sizes"] for row in rows if row["name"] == "wnli")


@pytest.mark.parametrize("names", [("sentence1", "sentence2"), ("evidence", "claim")])
def test_columns_that_are_called_as_a_pair_are_one_however_short_the_second_is(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """RTE's second sentences and FEVER's claims are a seventh of the first ones' length."""
    first, second = names
    rows = [{first: f"{n} " + "long " * 50, second: f"a short one {n}", "label": f"is {n % 2}"} for n in range(20)]
    assert guess_task(jsonl(tmp_path / "pairs.jsonl", rows)).text == names


def test_rows_without_a_label_are_told_and_no_label(tmp_path: Path) -> None:
    """Training refuses them; `init` and `tasks --guess` say so before."""
    rows = [{"text": f"the words of row {n}", "label": ("low", "high", "")[n % 3]} for n in range(12)]
    found = guess_task(jsonl(tmp_path / "gaps.jsonl", rows))
    assert ({"low": 4, "high": 4}, "label", "classification") == (found.counts, found.label, found.kind)
    assert ("column label is empty in 4 rows; fill it in, or remove them",) == found.notes

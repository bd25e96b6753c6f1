"""Rows of a user's table: read in windows, and every fault told with its place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.tasks import tables
from bertwright.tasks.cells import Heading, rows_in
from bertwright.tasks.readers import read as read_task
from bertwright.tasks.tables import Window, open_table, windows


def read(path: Path, *text: str) -> list[Window]:
    """Read all windows of a file."""
    return list(windows(open_table(path, text or ("text",))))


def texts(found: list[Window]) -> list[str]:
    """Return the first text of every row."""
    return [row[0] for window in found for row in window.texts]


def test_every_format_gives_the_same_texts(tmp_path: Path) -> None:
    """csv, tsv, jsonl and parquet; plain and in each packing; with a byte-order mark, blank lines and \\r\\n."""
    contents = {
        "csv": 'n,text\r\n1,"one, ""two""\nthree"\r\n\r\n2,four\r\n',
        "tsv": 'n\ttext\n1\tone, ""two"" three\n2\tfour\n\n',
        "jsonl": '\n{"n": 1, "text": "one, \\"two\\"\\nthree"}\n  {"n": 2, "text": "four"} ',
    }
    for suffix, content in contents.items():
        raw = b"\xef\xbb\xbf" + content.encode()
        (tmp_path / f"a.{suffix}").write_bytes(raw)
        (tmp_path / f"a.{suffix}.gz").write_bytes(gzip.compress(raw))
        (tmp_path / f"a.{suffix}.zst").write_bytes(zstandard.compress(raw))
        (tmp_path / f"a.{suffix}.xz").write_bytes(lzma.compress(raw))
        (tmp_path / f"a.{suffix}.bz2").write_bytes(bz2.compress(raw))
    pq.write_table(pa.table({"n": [1, 2], "text": ['one, "two"\nthree', "four"]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    for path in tmp_path.iterdir():
        first = 'one, ""two"" three' if ".tsv" in path.name else 'one, "two"\nthree'
        assert [first, "four"] == texts(read(path)), path.name


BROKEN = [
    ("a.csv", "", "a.csv has no first line; a csv file needs a header"),
    ("a.csv", "txt,n\na,1\n", "no column 'text'; did you mean 'txt'? (found: txt, n). Name the file's own column with"),
    ("a.csv", "text,text\na,b\n", "two columns are called 'text'; rename one"),
    ("a.csv", "text,n\na,1\n\nb\n", "a.csv, row 3 (line 4): found 1 cells, the header has 2"),
    ("a.csv", "\ntext,n\na,1\n", "a.csv begins with a blank line; a csv file needs a header"),
    ("a.csv", "text|n\na|1\n", "'text|n', looks parted by '|'; csv means commas here"),
    ("a.csv", '"text"\t"n"\n"a"\t1\n', "looks parted by '\\t'; csv means commas here"),
    ("a.csv", '"txt";"n"\n"a";1\n', "no column 'text'; did you mean 'txt'? (found: txt, n)"),
    ("a.csv", "text;n\na;1;2\n", "a.csv, row 1 (line 2): found 3 cells, the header has 2"),
    ("a.csv", 'text,n\na,1\n"b,2\nc,3\n', "begins in line 3 is not valid csv (a quote is opened and not closed)"),
    ("a.csv", 'text,n\n"a"b,1\n', "begins in line 2 is not valid csv"),
    ("a.csv", b"text\na\n\xe9\n", "a.csv, line 3: byte 0xe9 is not UTF-8; convert the file"),
    ("a.csv", "text\na\n".encode("utf-16"), "a.csv is UTF-16 LE by its byte-order mark"),
    ("a.tsv", "text\tn\na\n", "a.tsv, row 1 (line 2): found 1 cells"),
    ("a.jsonl", '{"text": "a"}\n{"n": 1}\n', "a.jsonl, row 2: no column 'text' (found: n)"),
    (
        "a.jsonl",
        '{"text": null}\n',
        "a.jsonl, row 1: column 'text' holds null, expected a text, which may be empty; fill",
    ),
    ("a.jsonl", '{"text": 3}\n', "a.jsonl, row 1: column 'text' holds 3, not text; name the text with --text COLUMN"),
    ("a.jsonl", '{"text": "a\\ud83d"}\n', "column 'text' holds half a character at place 1 ('\\ud83d')"),
    ("a.jsonl", "[1]\n", "a.jsonl, row 1: found list, expected a JSON object a line"),
    ("a.jsonl", '{"text": "a"}\n{\n', "a.jsonl, row 2: not valid JSON"),
    ("a.jsonl", "[" * 100_000 + "\n", "a.jsonl, row 1: not valid JSON (nested too deep)"),
    ("a.jsonl.gz", "plain", "is named as a gzip file and holds no packed data"),
    ("a.txt", "a\n", "rows are read from csv, tsv, jsonl or parquet; found a txt file"),
    ("a.doc", "a\n", "the suffix '.doc' does not say what the file is"),
    ("a.xlsx", "a\n", "Rows are csv, tsv, jsonl or parquet: write them as one of these, or rename the file if it is"),
    ("a.parquet", "nonsense", "cannot be read as parquet"),
    ("a.parquet", "nonsense", "copy it once more, or give it the suffix of what it is"),
]


@pytest.mark.parametrize(("name", "content", "words"), BROKEN)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    """File, row and column; what was found, and what to do."""
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet"])
def test_a_file_of_rows_is_not_asked_for_what_it_cannot_be_given(tmp_path: Path, name: str) -> None:
    """Sources of text have a `format`; a task's files, and those to answer, have none."""
    (tmp_path / name).write_text("nonsense")
    for attempt in (lambda: read(tmp_path / name), lambda: list(rows_in(tmp_path / name, Heading(("text",))))):
        with pytest.raises(DataError, match="does not say what|cannot be read") as caught:
            attempt()
        assert "`format`" not in str(caught.value)


def test_a_file_that_is_absent_is_told(tmp_path: Path) -> None:
    """A wrong name, and a folder."""
    with pytest.raises(DataError, match="is not there; name a file"):
        open_table(tmp_path / "a.csv", ("text",))
    with pytest.raises(DataError, match="is a folder; name a file"):
        open_table(tmp_path, ("text",))
    os.mkfifo(tmp_path / "b.csv")
    with pytest.raises(DataError, match="b.csv is a pipe or a device, and the rows are read twice.* into a file"):
        open_table(tmp_path / "b.csv", ("text",))


TEXTS = ["", " ", "a;b", 'x "y"', "two\nlines", "é,"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5), st.sampled_from(",;"), st.sampled_from([0, 1]))
def test_texts_are_read_as_training_reads_them(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], sign: str, quoting: int
) -> None:
    """Empty texts stay empty; commas and semicolons, with and without quotes around everything."""
    path, content = tmp_path_factory.mktemp("csv") / "a.csv", io.StringIO()
    writer = csv.writer(content, delimiter=sign, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("n", "text", "m"), *((n, cell, n) for n, cell in enumerate(cells))])
    path.write_text(content.getvalue(), newline="")
    rows, table = read_task(path, text=["text"], label="n", kind="classification"), open_table(path, ("text",))
    assert [(cell,) for cell in cells] == list(rows.texts) == [row for one in windows(table) for row in one.texts]
    assert [note for note in rows.notes if "parted" in note] == list(table.notes)
    assert (sign == ";") == bool(table.notes)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_empty_text_is_one(tmp_path: Path, suffix: str) -> None:
    """Of any format; only null is none."""
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"text": ["", " "]}), path)
    else:
        path.write_text('{"text": ""}\n{"text": " "}\n')
    assert ["", " "] == texts(read(path))


def test_a_semicolon_in_a_header_with_commas_parts_nothing(tmp_path: Path) -> None:
    """Commas come first; a quote may go on behind the first line; a column may be called `a;b`."""
    path = tmp_path / "a.csv"
    for content in ('text,"a;b"\nx;y,1\n', '"a;\nb",text\n1,x;y\n'):
        path.write_text(content)
        assert (["x;y"], ()) == (texts(read(path)), open_table(path, ("text",)).notes)
    path.write_text("a;b\nx;y\n")
    assert ["x;y"] == texts(read(path, "a;b"))


@pytest.mark.parametrize("wanted", ["Note (2)", "other"])
def test_a_missing_column_of_a_file_with_semicolons_is_told_among_its_columns(tmp_path: Path, wanted: str) -> None:
    """Not as if the header were one name: `init` and the reader see the same columns."""
    path = tmp_path / "a.csv"
    path.write_text("Note;Team (A)\nx;y\n")
    with pytest.raises(DataError, match=rf"no column '{re.escape(wanted)}'.* \(found: Note, Team \(A\)\)"):
        read(path, wanted)
    task = {"label": "Team", "kind": "classification"}
    with pytest.raises(DataError, match=r"no column 'Team'; did you mean 'Team \(A\)'\? \(found: Note, Team \(A\)\)$"):
        read_task(path, text=["Note"], **task)


def test_faults_of_parquet_have_a_row(tmp_path: Path) -> None:
    """A null in the second row; a column of numbers."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None], "n": [1, 2]}), path)
    with pytest.raises(DataError, match="row 2: column 'text' holds null"):
        read(path)
    with pytest.raises(DataError, match="column 'n' holds int64, not text; name the text with --text COLUMN"):
        read(path, "n")


def test_a_cell_that_is_too_large_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote that is never closed ends at the limit of a cell."""
    monkeypatch.setattr(tables, "LARGEST_CELL", 100)
    (tmp_path / "a.csv").write_text('text\n"' + "word\n" * 100)
    with pytest.raises(DataError, match="line 2 is not valid csv .a quote is opened and not closed"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_windows_are_the_same_however_many_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Windows of four rows over row groups of three; what is done is left out in whole windows, with right numbers."""
    monkeypatch.setattr(tables, "WINDOW", 4)
    rows, path = [f"row {number}" for number in range(1, 11)], tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        kind = pa.array(rows).dictionary_encode()
        pq.write_table(pa.table({"text": kind, "n": range(10)}), path, row_group_size=3)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    else:
        path.write_text("".join(f"{row}\n" for row in ["text", *rows]))
    found = read(path)
    assert [4, 4, 2] == [len(window) for window in found]
    assert rows == texts(found)
    assert list(range(1, 11)) == [number for window in found for number in window.numbers]
    later = list(windows(open_table(path, ("text",)), done=8))
    assert [[9, 10]] == [list(window.numbers) for window in later]
    assert rows[8:] == texts(later)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_large_rows_make_small_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """A window ends where its rows have become large, so that memory does not hang on their size."""
    monkeypatch.setattr(tables, "_LARGE", 3000)
    path = tmp_path / f"a.{suffix}"
    rows = [{"text": f"{number:01000d}"} for number in range(12)]
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, compression="none", use_dictionary=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(path)
    assert {2, 3} >= {len(window) for window in found}
    assert [row["text"] for row in rows] == texts(found)

"""Rows written again with their answers: every format to every other, and nothing of a row changed on the way."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import DataError, InputError
from bertwright.tasks import table_writers, tables
from bertwright.tasks.answers import Columns, answers_of
from bertwright.tasks.table_writers import finish, form_of, open_writer
from bertwright.tasks.tables import open_table, windows

LABELS = ("no", "yes")
CLASSES = Columns("classification", LABELS)


def write(source: Path, out: Path, columns: Columns = CLASSES, text: str = "text") -> Path:
    """Write a file's rows with answers: the label of row n (from 1) is yes where n is even, with a logit of n."""
    table, form = open_table(source, (text,)), form_of(out)
    writer, count = open_writer(table, form, columns)
    rows = out.with_name("rows")
    written = 0
    with rows.open("wb") as stream:
        stream.write(writer.begin())
        for window in windows(table):
            numbers = np.arange(written + 1, written + 1 + len(window))
            written += len(window)
            logits = np.stack([-numbers * (-1.0) ** numbers * s for s in (1, -1)][: len(columns.labels)], axis=1)
            answers = answers_of(logits.astype(np.float32), columns.kind, columns.labels)
            stream.write(writer.rows(window, answers))
    assert count == written
    finish(rows, out, form)
    return out


def objects(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_keep_their_characters(tmp_path: Path) -> None:
    """Numbers, escapes, spaces and the order of keys stay as they stand; answers go behind."""
    lines = [
        '{"n": 1.0, "big": 123456789012345678901234567890, "text": "\\u00e9", "x": null}',
        '  {"z":[1e400, NaN], "text" : "b" }',
    ]
    (tmp_path / "a.jsonl").write_text("\n\n".join(lines))
    found = write(tmp_path / "a.jsonl", tmp_path / "b.jsonl").read_text().splitlines()
    assert [lines[0][:-1] + ", ", lines[1].strip()[:-1] + ", "] == [
        line[: line.index('"prediction"')] for line in found
    ]
    assert ["no", "yes"] == [json.loads(line)["prediction"] for line in found]
    assert {"no": 0.880797, "yes": 0.11920292} == json.loads(found[0])["probabilities"]
    assert 0.880797 == json.loads(found[0])["probability"]


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_csv_keeps_its_cells(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    """Any text in any other column comes back from csv."""
    folder = tmp_path_factory.mktemp("csv")
    text = io.StringIO()
    csv.writer(text).writerows([("a", "text", "b"), *((a, "x", b) for a, b in rows)])
    (folder / "a.csv").write_bytes(text.getvalue().encode())
    found = write(folder / "a.csv", folder / "b.csv").read_bytes().decode()
    header, *cells = csv.reader(io.StringIO(found, newline=""), strict=True)
    assert ["a", "text", "b", "prediction", "probability", "probability:no", "probability:yes"] == header
    assert [[a, "x", b] for a, b in rows] == [row[:3] for row in cells]


def test_parquet_keeps_its_schema(tmp_path: Path) -> None:
    """Types, nesting, dictionaries, metadata and values; new columns are text, fp32 and a struct of fp32."""
    table = pa.table(
        {
            "text": pa.array(["a", "b", "c"]).dictionary_encode(),
            "day": pa.array([date(2020, 1, 1), None, date(1, 1, 1)]),
            "nested": pa.array([{"x": [1, 2]}, {"x": None}, None]),
            "small": pa.array([1, 2, 3], pa.int8()),
            "raw": pa.array([b"\xff", b"", None]),
        }
    ).replace_schema_metadata({"pandas": "{}"})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    found = pq.read_table(write(tmp_path / "a.parquet", tmp_path / "b.parquet"))
    assert table.schema.equals(found.select(table.column_names).schema)
    assert table.equals(found.select(table.column_names))
    assert b"{}" == found.schema.metadata[b"pandas"]
    struct = pa.struct([("no", pa.float32()), ("yes", pa.float32())])
    assert [pa.string(), pa.float32(), struct] == [
        found.schema.field(n).type for n in ("prediction", "probability", "probabilities")
    ]
    assert ["no", "yes", "no"] == found["prediction"].to_pylist()


def test_row_groups_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of two rows make row groups of at least five."""
    monkeypatch.setattr(tables, "WINDOW", 2)
    monkeypatch.setattr(table_writers, "_GROUP_ROWS", 5)
    (tmp_path / "a.csv").write_text("text\n" + "".join(f"{n}\n" for n in range(9)))
    content = pq.ParquetFile(write(tmp_path / "a.csv", tmp_path / "b.parquet"))
    assert [6, 3] == [content.metadata.row_group(n).num_rows for n in range(content.num_row_groups)]
    assert [str(n) for n in range(9)] == content.read()["text"].to_pylist()


SOURCES = {
    "a.csv": "text,n,more\na,1,\nb,2,x\n",
    "a.tsv": "text\tn\tmore\na\t1\t\nb\t2\tx\n",
    "a.jsonl": '{"text": "a", "n": 1}\n{"text": "b", "n": 2, "more": "x"}\n',
}


@pytest.mark.parametrize("source", [*SOURCES, "a.parquet"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_goes_to_every_other(tmp_path: Path, source: str, kind: str) -> None:
    """Values stay what they are where the format has a form for it; null is an empty cell."""
    path, out = tmp_path / source, tmp_path / f"b.{kind}"
    if source in SOURCES:
        path.write_text(SOURCES[source])
    else:
        pq.write_table(pa.table({"text": ["a", "b"], "n": [1, 2], "more": [None, "x"]}), path)
    write(path, out)
    typed = source in ("a.jsonl", "a.parquet")
    if kind in ("csv", "tsv"):
        sign = "," if kind == "csv" else "\t"
        rows = [line.split(sign)[:4] for line in out.read_text().splitlines()]
        assert [["text", "n", "more", "prediction"], ["a", "1", "", "no"], ["b", "2", "x", "yes"]] == rows
        return
    found = objects(out) if kind == "jsonl" else pq.read_table(out).to_pylist()
    empty = None if typed else ""
    expected = [("a", 1 if typed else "1", empty, "no"), ("b", 2 if typed else "2", "x", "yes")]
    assert expected == [(row["text"], row["n"], row.get("more"), row["prediction"]) for row in found]


def test_a_file_without_rows_gives_its_columns(tmp_path: Path) -> None:
    """Nothing to answer is no fault."""
    (tmp_path / "a.csv").write_text("text,n\n")
    assert "text,n,prediction,probability,probability:no,probability:yes\n" == (
        write(tmp_path / "a.csv", tmp_path / "b.csv").read_text()
    )
    assert ["text", "n", "prediction", "probability", "probabilities"] == (
        pq.read_table(write(tmp_path / "a.csv", tmp_path / "b.parquet")).column_names
    )
    (tmp_path / "a.jsonl").write_text("")
    assert b"" == write(tmp_path / "a.jsonl", tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [("multi-label", "no", ["no"]), ("regression", "-1.0", -1.0)],
)
def test_other_kinds_of_answers(tmp_path: Path, kind: str, cell: str, value: Any) -> None:
    """Several labels are a list, a number is a number; where cells are flat both are text."""
    columns = Columns(kind, LABELS if kind == "multi-label" else ("score",))
    (tmp_path / "a.csv").write_text("text\na\n")
    logit_of_first = {"multi-label": value, "regression": 1.0}[kind]
    expected = cell if kind == "multi-label" else str(logit_of_first)
    row = next(csv.DictReader(io.StringIO(write(tmp_path / "a.csv", tmp_path / "b.csv", columns).read_text())))
    assert expected == row["prediction"]
    assert [logit_of_first] == [
        r["prediction"] for r in objects(write(tmp_path / "a.csv", tmp_path / "b.jsonl", columns))
    ]
    table = pq.read_table(write(tmp_path / "a.csv", tmp_path / "b.parquet", columns))
    assert [logit_of_first] == table["prediction"].to_pylist()
    assert (kind == "multi-label") == ("probabilities" in table.column_names)


def test_packed_files_repeat_their_bytes(tmp_path: Path) -> None:
    """gz and zst hold the plain file, and neither time nor name."""
    (tmp_path / "a.csv").write_text("text\na\nb\n")
    plain = write(tmp_path / "a.csv", tmp_path / "b.csv").read_bytes()
    packed = write(tmp_path / "a.csv", tmp_path / "b.csv.gz").read_bytes()
    assert plain == gzip.decompress(packed)
    assert packed == write(tmp_path / "a.csv", tmp_path / "c.csv.gz").read_bytes()
    assert b"\0\0\0\0" == packed[4:8]
    assert plain == zstandard.decompress(write(tmp_path / "a.csv", tmp_path / "b.csv.zst").read_bytes())


def test_other_columns_of_one_name_are_kept_in_cells_and_refused_elsewhere(tmp_path: Path) -> None:
    """Tables of an office have several columns without a name."""
    (tmp_path / "a.csv").write_text("text,,\na,1,2\n")
    assert "a,1,2,no," == write(tmp_path / "a.csv", tmp_path / "b.csv").read_text().splitlines()[1][:9]
    with pytest.raises(DataError, match="two columns are called ''; rename one"):
        write(tmp_path / "a.csv", tmp_path / "b.jsonl")


@pytest.mark.parametrize("name", ["prediction", "probability", "probability:yes"])
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    """In csv and in any row of JSON lines; a prefix mends it."""
    (tmp_path / "a.csv").write_text(f"text,{name}\na,1\n")
    with pytest.raises(DataError, match=f"has a column '{name}' already.*--prefix model_"):
        write(tmp_path / "a.csv", tmp_path / "b.csv")
    header = write(tmp_path / "a.csv", tmp_path / "b.csv", Columns("classification", LABELS, "m_")).read_text()
    assert f"text,{name},m_prediction,m_probability,m_probability:no,m_probability:yes" == header.splitlines()[0]
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "probabilities": 1}\n')
    with pytest.raises(DataError, match="has a column 'probabilities' already"):
        write(tmp_path / "a.jsonl", tmp_path / "b.jsonl")


REFUSED = [
    ("a.csv", 'text,n\na,"1\t2"\n', "b.tsv", "row 1: column 'n' holds a tab or a line's end, which tsv cannot"),
    ("a.jsonl", '{"text": "a", "n": "\\ud800"}\n', "b.csv", "holds half a character ('\\ud800')"),
    ("a.jsonl", '{"text": "a", "n": "\\ud800"}\n', "b.parquet", "do not fit into columns of one type each"),
    ("a.jsonl", '{"text": "a", "n": 1}\n{"text": "a", "n": "x"}\n', "b.parquet", "do not fit into columns of one type"),
    ("a.jsonl", f'{{"text": "a", "n": {2**70}}}\n', "b.parquet", "do not fit into columns of one type each"),
    ("a.jsonl", '{"text": "a", "n": {}}\n', "b.parquet", "parquet cannot hold a column"),
    ("a.jsonl", f'{{"text": "a", "n": {2**60 + 1}}}\n{{"text": "a", "n": 1.5}}\n', "b.parquet", "cannot hold a row"),
]


@pytest.mark.parametrize(("name", "content", "out", "words"), REFUSED)
def test_what_a_format_cannot_hold_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, out: str, words: str
) -> None:
    """The row and column, and a format that can."""
    monkeypatch.setattr(tables, "WINDOW", 1)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        open_writer(open_table(tmp_path / name, ("text",)), form_of(tmp_path / out), CLASSES)
    assert words in str(caught.value)
    assert "write " in str(caught.value)


def parquet(path: Path, column: Any) -> Path:
    """Write a table of one row with a column x."""
    pq.write_table(pa.table({"text": ["a"], "x": column}), path)
    return path


NO_TEXT = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
NO_FORM = [
    (pa.array([10**12], pa.timestamp("s")), "row 1: column 'x' holds a timestamp[ms] outside the years 0 to 9999"),
    (pa.array([2**31 - 1], pa.int32()).view(pa.date32()), "row 1: column 'x' holds a date32[day] outside the years"),
    (NO_TEXT, "row 1: column 'x' holds bytes that are not UTF-8"),
    (pa.array([b"\xff"]), "column 'x' holds binary, for which {} has no form; write parquet"),
    (pa.array([[{"a": b"a"}]]), "column 'x' holds binary in list<element: struct<a: binary>>, for which {} has"),
]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize(("column", "words"), NO_FORM, ids=["moment", "day", "words", "bytes", "nested"])
def test_values_of_parquet_without_a_form_in_text_are_refused(
    tmp_path: Path, column: pa.Array, words: str, kind: str
) -> None:
    """The column, before the work; parquet holds them all."""
    path = parquet(tmp_path / "a.parquet", column)
    with pytest.raises(DataError) as caught:
        open_writer(open_table(path, ("text",)), form_of(tmp_path / f"b.{kind}"), CLASSES)
    assert words.format(kind) in str(caught.value)
    assert "write parquet" in str(caught.value)
    found = pq.read_table(write(path, tmp_path / "b.parquet"))
    assert pq.read_table(path)["x"].equals(found["x"])


def test_types_without_a_form_are_told_before_a_row_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema tells them."""
    monkeypatch.setattr(table_writers, "windows", lambda _: pytest.fail("rows were read"))
    with pytest.raises(DataError, match="column 'x' holds binary"):
        path = parquet(tmp_path / "a.parquet", pa.array([b"a"]))
        open_writer(open_table(path, ("text",)), form_of(tmp_path / "b.csv"), CLASSES)


def test_values_of_parquet_in_text(tmp_path: Path) -> None:
    """Times to the nanosecond, decimals in cells; JSON has neither decimals nor numbers that are none, csv both."""
    moment, first = pa.array([1], pa.timestamp("ns", "Mars/Olympus")), "1970-01-01T00:00:00.000000001Z"
    for column, cell, value in (
        (moment, first, first),
        (pa.array([1], pa.time64("ns")), "00:00:00.000000001", "00:00:00.000000001"),
        (pa.array([[date(2020, 1, 1)]]), '"[""2020-01-01""]"', ["2020-01-01"]),
        (pa.array([Decimal("1.10")]), "1.10", None),
        (pa.array([[Decimal("1.10")]]), '"[""1.10""]"', None),
        (pa.array([float("nan")]), "NaN", None),
    ):
        path = parquet(tmp_path / "a.parquet", column)
        assert f"a,{cell},no," in write(path, tmp_path / "b.csv").read_text()
        if value is not None:
            assert [value] == [row["x"] for row in objects(write(path, tmp_path / "b.jsonl"))]
            continue
        with pytest.raises(DataError, match="for which (JSON|jsonl) has no form; write parquet or csv"):
            write(path, tmp_path / "b.jsonl")


@pytest.mark.parametrize("name", ["b", "b.txt", "b.xlsx", "b.csv.xz", "b.parquet.gz"])
def test_a_name_that_says_no_format_is_refused(name: str) -> None:
    """What can be written is listed."""
    with pytest.raises(InputError, match=r"its name does not say what to write; end it in .csv, .tsv or .jsonl"):
        form_of(Path(name))

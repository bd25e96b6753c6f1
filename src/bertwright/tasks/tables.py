"""Rows of a table that need no labels, in windows: csv, tsv, jsonl and parquet, packed or not.

A row is kept as the file has it, so that it can be written again unchanged. Blank lines of text formats are no rows. A
text may be empty, as in training; null is none.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bertwright.errors import DataError
from bertwright.tasks.cells import (
    BY_SEMICOLONS,
    LONGEST_LINE,
    OTHERWISE,
    Heading,
    json_row,
    parted_by_semicolons,
    rows_file,
    too_long,
    whole_characters,
)
from bertwright.text.cells import DIALECTS, LARGEST_CELL
from bertwright.text.documents import ignore
from bertwright.text.lines import refuse_other_encodings, without_mark
from bertwright.text.parquet import faults_explained, rows_at_once
from bertwright.text.sources import TextFile
from bertwright.text.streams import unpacked, unpacked_file

WINDOW = 2048
"""Rows of a window, at most."""
_LARGE = 1 << 24  # characters, or bytes of parquet, after which a window ends sooner
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Table:
    """A file of rows: its columns of text, all its columns (of jsonl: none, each row has its own), parquet's schema.

    ``sign`` stands between the cells of csv and tsv; ``notes`` say what is read otherwise than a file of its kind is.
    """

    file: TextFile
    text: tuple[str, ...]
    columns: tuple[str, ...]
    schema: pa.Schema | None = None
    sign: str = ","
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """Rows that are worked on together: their numbers (from 1), their texts, and the rows as the file has them.

    A row is a list of cells (csv, tsv) or a line with its object (jsonl); the rows of parquet are one Arrow table.
    """

    numbers: Sequence[int]
    texts: tuple[tuple[str, ...], ...]
    rows: Any

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.texts)


def open_table(path: Path, text: Sequence[str]) -> Table:
    """Look at the begin of a file; ``DataError`` where it is no table or lacks a column of text."""
    _check_file(path)
    file = rows_file(path)
    if file.format == "txt":
        raise DataError(f"{path}: rows are read from csv, tsv, jsonl or parquet; found a txt file")
    if file.format == "jsonl":
        return Table(file, tuple(text), ())
    if file.format != "parquet":
        return _separated_table(file, text)
    schema = _schema(file)
    _check_columns(str(path), schema.names, text)
    for column in text:
        _check_type(path, column, schema.field(column).type)
    return Table(file, tuple(text), tuple(schema.names), schema)


def _check_file(path: Path) -> None:
    """Refuse what is no ordinary file."""
    if path.is_dir() or not path.exists():
        raise DataError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; name a file with the rows")
    if not path.is_file():
        raise DataError(
            f"{path} is a pipe or a device, and the rows are read twice: first for faults, then to be answered; write "
            "them into a file and name that"
        )


def _separated_table(file: TextFile, text: Sequence[str]) -> Table:
    """Look at the header of a csv or tsv file."""
    sign = _sign(file, text) if file.format == "csv" else DIALECTS[file.format]["delimiter"]
    line, header = next(_cells(file, sign), (0, []))
    if not header:
        found = "begins with a blank line" if line else "has no first line"
        raise DataError(
            f"{file.path} {found}; a {file.format} file needs a header with the names of its columns in its first line"
        )
    _check_columns(str(file.path), header, text)
    notes = (f"{file.path.name}: {BY_SEMICOLONS}",) if sign == ";" else ()
    return Table(file, tuple(text), tuple(header), sign=sign, notes=notes)


def _sign(file: TextFile, text: Sequence[str]) -> str:
    """Return the sign between the cells of a csv file: a comma, or a semicolon where training takes that."""
    first, heading = next(_lines(file), ""), Heading(tuple(text))
    try:
        if parted_by_semicolons(first, heading):
            return ";"
        header = next(csv.reader([first]), [])
    except csv.Error:  # whoever reads the rows tells it with its line
        return ","
    if len(header) != 1 or "\n" in header[0] or heading.fits(header):  # an open quote: the header goes on
        return ","
    sign = next((sign for sign in ";\t|" if sign in header[0]), ",")
    if sign in "\t|":
        raise DataError(
            f"{file.path}: its first line, {header[0]!r}, looks parted by {sign!r}; csv means commas here: write the "
            "file with commas between the cells, or as jsonl or parquet"
        )
    return sign


def windows(table: Table, done: int = 0) -> Iterator[Window]:
    """Give all rows of a table in windows, always the same ones, but for those of the first ``done`` rows.

    One window is in memory at a time. ``DataError`` names file, row and column of the first fault.
    """
    readers = {"csv": _separated, "tsv": _separated, "jsonl": _json_lines, "parquet": _parquet}
    for window in readers[table.file.format](table):
        if done >= len(window):
            done -= len(window)
        else:
            yield window


def _separated(table: Table) -> Iterator[Window]:
    places = [table.columns.index(column) for column in table.text]

    def rows() -> Iterator[tuple[int, tuple[str, ...], list[str], int]]:
        numbered = enumerate(_cells(table.file, table.sign))
        next(numbered)  # the header
        for number, (line, cells) in numbered:
            if not cells:
                continue
            place = f"{table.file.path}, row {number} (line {line})"
            if len(cells) != len(table.columns):
                raise DataError(
                    f"{place}: found {len(cells)} cells, the header has {len(table.columns)}; mend the row, and put "
                    "quotes around a cell that holds the sign between cells"
                )
            texts = tuple(_text(cells[at], table.columns[at], place) for at in places)
            yield number, texts, cells, sum(map(len, cells))

    yield from _gathered(rows())


def _json_lines(table: Table) -> Iterator[Window]:
    def rows() -> Iterator[tuple[int, tuple[str, ...], tuple[str, dict[str, Any]], int]]:
        for number, line in enumerate(_lines(table.file), 1):
            if not line.strip():
                continue
            place = f"{table.file.path}, row {number}"
            row = json_row(line, place)
            _check_columns(place, list(row), table.text)
            yield number, tuple(_text(row[c], c, place) for c in table.text), (line.strip(), row), len(line)

    yield from _gathered(rows())


def _gathered(rows: Iterator[tuple[int, tuple[str, ...], Any, int]]) -> Iterator[Window]:
    """Put rows (number, texts, the row, its size) together until there are enough, or they are large."""
    numbers: list[int] = []
    texts: list[tuple[str, ...]] = []
    kept: list[Any] = []
    size = 0
    for number, text, row, length in rows:
        numbers.append(number)
        texts.append(text)
        kept.append(row)
        size += length
        if len(kept) == WINDOW or size >= _LARGE:
            yield Window(numbers, tuple(texts), kept)
            numbers, texts, kept, size = [], [], [], 0
    if kept:
        yield Window(numbers, tuple(texts), kept)


def _cells(file: TextFile, sign: str) -> Iterator[tuple[int, list[str]]]:
    """Give the line where each row begins, and its cells; the header is the first row."""
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(_lines(file), **{**DIALECTS[file.format], "delimiter": sign})
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            quote = "unexpected end" in str(error) or "field limit" in str(error)
            fault = "a quote is opened and not closed" if quote else str(error)
            raise DataError(
                f"{file.path}: the row that begins in line {line} is not valid {file.format} ({fault}); mend it, or "
                "write the file again as jsonl or parquet"
            ) from error
        if cells is None:
            return
        yield line, cells


def _lines(file: TextFile) -> Iterator[str]:
    """Give the lines of a file with their ends, without a byte-order mark."""
    with unpacked(file, ignore) as stream:
        for number, content in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 1):
            if len(content) > LONGEST_LINE:
                raise DataError(too_long(f"{file.path}, line {number}"))
            if number == 1:
                refuse_other_encodings(file.path, content)
            try:
                line = (without_mark(content) if number == 1 else content).decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{file.path}, line {number}: byte 0x{error.object[error.start]:02x} is not UTF-8; convert the "
                    "file, for instance with `iconv -f latin1 -t utf-8`"
                ) from None
            yield line


def _schema(file: TextFile) -> pa.Schema:
    with (
        faults_explained(file.path, otherwise=OTHERWISE),
        unpacked_file(file) as plain,
        pq.ParquetFile(plain) as content,
    ):
        return content.schema_arrow


def _parquet(table: Table) -> Iterator[Window]:
    file, first = table.file, 1
    with (
        faults_explained(file.path, otherwise=OTHERWISE),
        unpacked_file(file) as plain,
        pq.ParquetFile(plain, pre_buffer=False, buffer_size=_BUFFER) as content,
    ):
        size = rows_at_once(content, plain, content.schema_arrow.names, rows=WINDOW, size=_LARGE)
        held = content.schema_arrow.empty_table()
        for batch in content.iter_batches(size, use_threads=False):
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
            while held.num_rows >= size:
                yield _window(table, held.slice(0, size), first)
                first += size
                held = held.slice(size)
        if held.num_rows:
            yield _window(table, held, first)


def _window(table: Table, rows: pa.Table, first: int) -> Window:
    numbers = range(first, first + rows.num_rows)
    columns = []
    for name in table.text:
        try:
            values = rows.column(name).to_pylist()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{table.file.path}: column {name!r} holds bytes that are not UTF-8 ({error}); write it anew"
            ) from None
        columns.append([_text(v, name, f"{table.file.path}, row {n}") for n, v in zip(numbers, values, strict=True)])
    return Window(numbers, tuple(zip(*columns, strict=True)), rows.combine_chunks())


def _text(value: Any, column: str, place: str) -> str:
    """Return a cell as text that a tokenizer takes, or ``DataError``."""
    if value is None:
        raise DataError(
            f"{place}: column {column!r} holds null, expected a text, which may be empty; fill it in, or take the row "
            "out of the file"
        )
    if not isinstance(value, str):
        raise DataError(f"{place}: column {column!r} holds {value!r}, not text; name the text with --text COLUMN")
    return whole_characters(value, column, place)


def _check_type(path: Path, column: str, kind: pa.DataType) -> None:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise DataError(f"{path}: column {column!r} holds {kind}, not text; name the text with --text COLUMN")


def _check_columns(place: str, names: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if column not in names:
            near = difflib.get_close_matches(column, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"{place}: no column {column!r}{hint} (found: {', '.join(names)}). Name the file's own column with "
                "--text COLUMN."
            )
        if list(names).count(column) > 1:
            raise DataError(f"{place}: two columns are called {column!r}; rename one")

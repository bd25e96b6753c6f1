"""Rows written again with their answers behind them: csv, tsv, jsonl and parquet.

A writer gives bytes, window by window; put one after the other they are the rows. Those of text formats are the file.
Those of parquet, whose files cannot be continued, are Arrow streams, from which ``finish`` makes the file.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bertwright import files
from bertwright.errors import DataError, InputError
from bertwright.tasks.answers import Answers, Columns
from bertwright.tasks.plain_values import NoForm, plain_values, without_form
from bertwright.tasks.tables import Table, Window, windows
from bertwright.text.sources import FORMATS

_PACKED = {".gz": "gzip", ".zst": "zstd"}
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_GROUP_ROWS, _GROUP_BYTES = 1 << 16, 1 << 26  # of a row group of parquet, about
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Form:
    """What a file's name says of it: its format, and None, gzip or zstd."""

    format: str
    packed: str | None


class Writer(Protocol):
    """Gives the bytes of rows with their answers."""

    def begin(self) -> bytes:
        """Return what stands before the first row."""

    def rows(self, window: Window, answers: Answers) -> bytes:
        """Return a window's rows; ``DataError`` where the format has no form for one of them."""


def form_of(path: Path) -> Form:
    """Return the form of a file to write; ``InputError`` where its name does not say one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = _PACKED.get(suffixes[-1]) if suffixes else None
    suffixes = suffixes[:-1] if packed else suffixes
    format_ = FORMATS.get(suffixes[-1]) if suffixes else None
    if format_ in (None, "txt") or (format_ == "parquet" and packed):
        raise InputError(
            f"{path}: its name does not say what to write; end it in .csv, .tsv or .jsonl (each also with .gz or .zst "
            "behind it), or in .parquet"
        )
    return Form(str(format_), packed)


def open_writer(table: Table, form: Form, columns: Columns) -> tuple[Writer, int]:
    """Read a table once and return a writer of its rows, and their number.

    So every fault of the file is told before there is any work. ``DataError`` where a row cannot be read, where the
    table has a column of an answer's name, or where the form cannot hold a row.
    """
    flat = form.format in _SEPARATORS
    if flat:
        columns.check_joined()
    if table.schema is not None and form.format != "parquet":
        _check_types(table, form)
    keys: dict[str, None] = {}
    schema, count = table.schema, 0
    for window in windows(table):
        count += len(window)
        if table.file.format == "jsonl":
            keys |= {name: None for _, row in window.rows for name in row}
            if form.format == "parquet":
                schema = _widened(schema, [row for _, row in window.rows], table)
    names = table.columns or tuple(keys)
    _check_names(table, names, columns.names(flat))
    if not (flat and table.file.format in _SEPARATORS):
        _check_twice(table)
    source = Source(table, names, table.file.format == form.format)
    writer: Writer
    if flat:
        writer = _Separated(source, form.format, columns)
    elif form.format == "jsonl":
        writer = _JsonLines(source, columns)
    else:
        writer = _Parquet(source, schema or pa.schema([(name, pa.string()) for name in names]), columns)
    if not source.same:
        for window in windows(table):  # what another format cannot hold
            writer.rows(window, _blank(len(window), columns))
    return writer, count


@dataclass(frozen=True)
class Source:
    """Where rows come from: the table, the names of all its columns, and whether they go to the format they have."""

    table: Table
    names: tuple[str, ...]
    same: bool

    def objects(self, window: Window) -> list[dict[str, Any]]:
        """Return the rows as Python's values by column."""
        if self.table.file.format == "jsonl":
            return [row for _, row in window.rows]
        rows = window.rows
        if self.table.file.format == "parquet":
            rows = zip(*(self._plain(window, name) for name in self.names), strict=True)
        return [dict(zip(self.names, cells, strict=True)) for cells in rows]

    def _plain(self, window: Window, name: str) -> list[Any]:
        """Return the values of one of parquet's columns."""
        try:
            return plain_values(window.rows.column(name))
        except NoForm as error:
            place = self.place(window, error.row)
            raise DataError(
                f"{place}: column {name!r} holds {error}, which a text format cannot; write parquet"
            ) from None

    def place(self, window: Window, row: int) -> str:
        """Return what a row of a window is called."""
        return f"{self.table.file.path}, row {window.numbers[row]}"


class _Separated:
    """Cells: text as it is, nothing for null, anything else as JSON."""

    def __init__(self, source: Source, format_: str, columns: Columns) -> None:
        self._source, self._format, self._columns = source, format_, columns

    def begin(self) -> bytes:
        cells = [*self._source.names, *self._columns.names(flat=True)]
        self._check_cells(cells, cells, "the header")
        return self._bytes([cells], "the header")

    def rows(self, window: Window, answers: Answers) -> bytes:
        if self._plain:
            kept = window.rows
        else:
            kept = [[_cell(row.get(name)) for name in self._source.names] for row in self._source.objects(window)]
        found = [[*cells, *new] for cells, new in zip(kept, self._columns.cells(answers), strict=True)]
        names = (*self._source.names, *self._columns.names(flat=True))
        for at, cells in enumerate(found if self._format == "tsv" else ()):
            self._check_cells(cells, names, self._source.place(window, at))
        return self._bytes(found, self._source.place(window, 0))

    @property
    def _plain(self) -> bool:
        """Whether rows are cells already."""
        return self._source.table.file.format in _SEPARATORS

    def _check_cells(self, cells: Sequence[str], names: Sequence[str], place: str) -> None:
        for name, cell in zip(names, cells, strict=True):
            if self._format == "tsv" and set("\t\r\n") & set(cell):
                raise DataError(f"{place}: column {name!r} holds a tab or a line's end, which tsv cannot; write csv")

    def _bytes(self, rows: Sequence[Sequence[str]], place: str) -> bytes:
        if self._format == "tsv":
            return _encoded("".join("\t".join(cells) + "\n" for cells in rows), place)
        lines: list[str] = []
        # A lone \r in a cell gets its quotes only where it is in the line's end, which is then made \n.
        csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerows(rows)
        return _encoded("".join(line[:-2] + "\n" for line in lines), place)


class _JsonLines:
    """Objects a line; a line that was JSON keeps its very characters, and the answers go behind them."""

    def __init__(self, source: Source, columns: Columns) -> None:
        self._source, self._columns = source, columns

    def begin(self) -> bytes:
        return b""

    def rows(self, window: Window, answers: Answers) -> bytes:
        new = self._columns.objects(answers)
        if self._source.same:
            lines = [_spliced(line, bool(row), more) for (line, row), more in zip(window.rows, new, strict=True)]
        else:
            pairs = zip(self._source.objects(window), new, strict=True)
            lines = [_json({**row, **more}, self._source.place(window, at)) for at, (row, more) in enumerate(pairs)]
        return "".join(line + "\n" for line in lines).encode()


class _Parquet:
    """Arrow streams, one a window; ``finish`` makes one file of them."""

    def __init__(self, source: Source, schema: pa.Schema, columns: Columns) -> None:
        self._source, self._own, self._columns = source, schema, columns
        self._schema = schema
        for field in columns.fields():
            self._schema = self._schema.append(field)
        try:
            pq.ParquetWriter(io.BytesIO(), self._schema).close()
        except pa.ArrowException as error:
            path = source.table.file.path
            raise DataError(f"{path}: parquet cannot hold a column of it ({error}); write jsonl") from error

    def begin(self) -> bytes:
        return self._bytes(self._schema.empty_table())

    def rows(self, window: Window, answers: Answers) -> bytes:
        found = window.rows if self._source.same else self._table(window)
        arrays = self._columns.arrays(answers)
        for field, array in zip(self._columns.fields(), arrays, strict=True):
            found = found.append_column(field, array)
        return self._bytes(found)

    def _table(self, window: Window) -> pa.Table:
        rows = self._source.objects(window)
        try:
            return pa.Table.from_pylist(rows, schema=self._own)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            first, last = self._source.place(window, 0), window.numbers[-1]
            raise DataError(f"{first} to {last}: parquet cannot hold a row ({error}); write jsonl") from error

    def _bytes(self, table: pa.Table) -> bytes:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, self._schema) as stream:
            stream.write_table(table)
        return sink.getvalue()


def finish(rows: Path, out: Path, form: Form) -> None:
    """Make the file ``out`` of the bytes that a writer gave, now the file ``rows``."""
    if form.format == "parquet":
        _join_streams(rows, out)
        return
    with rows.open("rb") as source, files.filling(out) as target:
        if form.packed == "gzip":
            # Neither name nor time stands in it: the same rows give the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed:
                shutil.copyfileobj(source, packed, _BUFFER)
        elif form.packed == "zstd":
            zstandard.ZstdCompressor().copy_stream(source, target, size=rows.stat().st_size)
        else:
            shutil.copyfileobj(source, target, _BUFFER)


def _join_streams(rows: Path, out: Path) -> None:
    """Write the tables of Arrow streams as one parquet file, some at a time."""
    with rows.open("rb") as source:
        tables = _streamed(source)
        first = next(tables)
        with files.filling(out) as target, pq.ParquetWriter(target, first.schema) as writer:
            held, count, size = [first], 0, 0
            for table in tables:
                held.append(table)
                count, size = count + table.num_rows, size + table.nbytes
                if count >= _GROUP_ROWS or size >= _GROUP_BYTES:
                    writer.write_table(pa.concat_tables(held), row_group_size=count)
                    held, count, size = [], 0, 0
            if count:
                writer.write_table(pa.concat_tables(held), row_group_size=count)


def _streamed(source: IO[bytes]) -> Iterator[pa.Table]:
    while source.peek(1):  # type: ignore[attr-defined]
        with pa.ipc.open_stream(pa.PythonFile(source, "r")) as stream:
            yield stream.read_all()


def _check_names(table: Table, found: Sequence[str], new: Sequence[str]) -> None:
    taken = [name for name in new if name in found]
    if taken:
        raise DataError(
            f"{table.file.path} has a column {taken[0]!r} already, and the answers would take that name; give theirs "
            "a beginning of their own, such as --prefix model_"
        )


def _check_types(table: Table, form: Form) -> None:
    """Refuse a column of parquet that a text format has no form for."""
    for field in table.schema or ():
        part = without_form(field.type, decimals=form.format in _SEPARATORS)
        if part is not None:
            inside = "" if part == field.type else f" in {field.type}"
            other = " or csv" if without_form(field.type, decimals=True) is None else ""
            raise DataError(
                f"{table.file.path}: column {field.name!r} holds {part}{inside}, for which {form.format} has no form; "
                f"write parquet{other}"
            )


def _check_twice(table: Table) -> None:
    twice = [name for name in table.columns if table.columns.count(name) > 1]
    if twice:
        raise DataError(f"{table.file.path}: two columns are called {twice[0]!r}; rename one")


def _widened(schema: pa.Schema | None, rows: list[dict[str, Any]], table: Table) -> pa.Schema:
    """Return the schema that holds earlier rows and these; what is whole in some and broken in others is broken."""
    try:
        found = pa.schema(list(pa.array(rows).type))
        return pa.unify_schemas([schema, found], promote_options="permissive") if schema is not None else found
    except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise DataError(
            f"{table.file.path}: its rows do not fit into columns of one type each ({error}); write jsonl"
        ) from error


def _blank(count: int, columns: Columns) -> Answers:
    """Return answers that say nothing, of the right shapes."""
    layers = np.zeros(count, dtype=np.int64) if columns.exits else None
    if columns.kind == "regression":
        return Answers([0.0] * count, layers=layers)
    zero = np.zeros((count, 1 + len(columns.labels)), dtype=np.float32)
    first: Any = [[]] * count if columns.kind == "multi-label" else [columns.labels[0]] * count
    return Answers(first, zero[:, 0], zero[:, 1:], layers)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _spliced(line: str, filled: bool, more: dict[str, Any]) -> str:
    """Put members at the end of an object, whose text stays as it is."""
    return line[:-1] + (", " if filled else "") + json.dumps(more, ensure_ascii=False, allow_nan=False)[1:]


def _json(row: dict[str, Any], place: str) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        for name, value in row.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise DataError(
                    f"{place}: column {name!r} holds {value!r}, for which JSON has no form; write parquet or csv"
                ) from None
        raise


def _encoded(text: str, place: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place} or one of the {text.count(chr(10))} behind it holds half a character "
            f"({text[error.start]!a}), which this format cannot; write jsonl"
        ) from None

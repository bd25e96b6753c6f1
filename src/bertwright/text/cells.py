"""The text column of JSON lines, CSV, TSV and Parquet: one text a row, broken rows told apart from empty ones."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bertwright.errors import DataError
from bertwright.text.lines import lines, lines_before
from bertwright.text.parquet import faults_explained, rows_at_once
from bertwright.text.sources import TextFile
from bertwright.text.streams import unpacked_file
from bertwright.text.troubles import TOO_LONG, Limit, Reading, Span

LARGEST_CELL = 1 << 23
"""Characters of a CSV cell, at most: a quote that is never closed must not take all the memory."""

DIALECTS: dict[str, dict[str, Any]] = {
    "csv": {"delimiter": ",", "strict": True},
    # In TSV a quote is an ordinary character and a row never goes over a line.
    "tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
_PARQUET_ROWS, _PARQUET_BYTES, _BUFFER = 1024, 1 << 22, 1 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")


def cells(reading: Reading) -> Iterator[str]:
    """Give the text of each row of a file in a row format; an absent one (null, a blank line) is ``""``.

    ``DataError`` where the column is not there; broken rows are noted or stop, as ``reading`` says.
    """
    readers = {"jsonl": _json_cells, "csv": _separated_cells, "tsv": _separated_cells, "parquet": _parquet_cells}
    return readers[reading.file.format](reading)


def _json_cells(reading: Reading) -> Iterator[str]:
    before: int | None = None
    for number, line in enumerate(lines(reading), 1):
        if line is None:
            reading.troubles.count(TOO_LONG)
            continue
        text, fault = _json_text(line, reading.file.column)
        if fault:
            # Counted only where it has to be told: it means reading all that stands before.
            before = lines_before(reading.file, reading.span.start) if before is None else before
            reading.broken(before + number, fault)
        else:
            yield text


def _json_text(line: str, column: str) -> tuple[str, str | None]:
    """Return the text of a line, and why there is none where the line is broken."""
    if not line.strip():
        return "", None
    try:
        row = json.loads(line, object_pairs_hook=_without_repeats)
        text = row[column] if isinstance(row, dict) else None
        return text or "", _text_fault(row, text)
    except KeyError:
        return "", f"no key {column!r}"
    except _RepeatedKeyError as error:
        return "", f"the key {error} comes twice"
    except (ValueError, RecursionError) as error:
        # Only the message is the same for all rows of a kind; the place in the line is not.
        return "", f"not JSON ({getattr(error, 'msg', 'too deep or too long a value').removesuffix(' at')})"


class _RepeatedKeyError(Exception):
    """A JSON object has one key twice; the text is the key."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(repr(next(key for key in keys if keys.count(key) > 1)))
    return row


def _text_fault(row: Any, text: Any) -> str | None:
    """Return why a JSON row's value cannot be a text, or None."""
    if not isinstance(row, dict):
        return "one JSON object a line is expected, and this is " + _kind(row)
    if text is None:
        return None
    if not isinstance(text, str):
        return "a text is expected, and this is " + _kind(text)
    if _SURROGATE.search(text):
        return "half of a surrogate pair, which is no character"
    return None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _separated_cells(reading: Reading) -> Iterator[str]:
    csv.field_size_limit(LARGEST_CELL)
    header = _header(reading)
    if header is None:
        return
    place, begun = _column(reading, header), False
    before: int | None = None
    table = csv.reader(_short_lines(reading), **DIALECTS[reading.file.format])
    end = 0

    def broken(start: int, fault: str) -> None:
        nonlocal before
        before = lines_before(reading.file, reading.span.start) if before is None else before
        reading.broken(before + start, fault)

    while True:
        # A row may go over many lines; its number is that of its first line.
        start, end = end + 1, end
        try:
            row = next(table, None)
        except csv.Error as error:
            end = table.line_num
            broken(start, _csv_fault(error, end - start + 1))
            continue
        end = table.line_num
        if row is None:
            return
        if not begun and reading.span.start == 0:
            begun = True  # the header itself
        elif not row:
            yield ""
        elif len(row) != len(header):
            broken(start, f"{len(row)} cells where the header has {len(header)}")
        else:
            yield row[place]


def _header(reading: Reading) -> list[str] | None:
    """Return the names of a file's columns, whatever part of it is read; None where the file is empty."""
    whole = dataclasses.replace(reading, span=Span(), progress=lambda _: None)
    with contextlib.closing(_short_lines(whole)) as first_lines:
        try:
            return next(csv.reader(first_lines, **DIALECTS[reading.file.format]), None)
        except csv.Error as error:
            raise DataError(
                f"{reading.file.path}: the header cannot be read ({error}). Write the file again, or as jsonl."
            ) from error


def _short_lines(reading: Reading) -> Generator[str]:
    """Give lines that the csv module can take."""
    for line in lines(dataclasses.replace(reading, limit=Limit(LARGEST_CELL, leave_out=True))):
        if line is None:
            raise DataError(long_line(reading.file))
        yield line


def long_line(file: TextFile) -> str:
    """Return what is said where a line of a table is longer than ``LARGEST_CELL`` bytes."""
    return (
        f"{file.path}: a line of more than {LARGEST_CELL / 1e6:.1f} MB, which is no row of a table. Give such text as "
        "JSON lines, Parquet or txt."
    )


def _csv_fault(error: csv.Error, count: int) -> str:
    if "unexpected end of data" in str(error):
        return f"a quote opened here is never closed; the {count} lines to the end of the file belong to it"
    if "field limit" in str(error):
        return f"a quote opened here is not closed for {count} lines, more than {LARGEST_CELL:,} characters"
    return f"not CSV ({error})"


def _column(reading: Reading, header: list[str]) -> int:
    """Return the place of the text column in a header."""
    column, path = reading.file.column, reading.file.path
    if header.count(column) == 1:
        return header.index(column)
    if column in header:
        raise DataError(f"{path}: the header has {header.count(column)} columns named {column!r}. Rename all but one.")
    hint = ""
    if reading.file.format == "csv" and len(header) == 1 and set(";\t|") & set(header[0]):
        sign = next(sign for sign in ";\t|" if sign in header[0])
        hint = f" The header's cells look parted by {sign!r}; csv means commas here: export the file with commas."
    raise DataError(
        f"{path}: no column {column!r} in its first line, which has to be a header; found "
        f"{', '.join(map(repr, header))}. Name the text column with `column`.{hint}"
    )


def _parquet_cells(reading: Reading) -> Iterator[str]:
    path = reading.file.path
    with (
        faults_explained(path),
        unpacked_file(reading.file) as plain,
        pq.ParquetFile(plain, pre_buffer=False, buffer_size=_BUFFER) as table,
    ):
        _check_parquet_column(reading, table.schema_arrow)
        size, rows, span = path.stat().st_size, max(1, table.metadata.num_rows), reading.span
        end = table.num_row_groups if span.end is None else span.end
        done = sum(table.metadata.row_group(group).num_rows for group in range(span.start))
        columns, groups = [reading.file.column], range(span.start, end)
        at_once = rows_at_once(table, plain, columns, rows=_PARQUET_ROWS, size=_PARQUET_BYTES, groups=groups)
        for batch in table.iter_batches(at_once, row_groups=groups, columns=columns, use_threads=False):
            # As bytes, so that wrong UTF-8 meets the same rules as anywhere else.
            for content in batch.column(0).cast(pa.large_string()).cast(pa.large_binary()).to_pylist():
                done += 1
                if content and reading.over(len(content)):
                    reading.troubles.count(TOO_LONG)
                    continue
                yield reading.decode(content, place=f"the text in row {done}") if content else ""
            reading.progress(size * done // rows)


def _check_parquet_column(reading: Reading, schema: pa.Schema) -> None:
    column, path = reading.file.column, reading.file.path
    if schema.names.count(column) != 1:
        found = ", ".join(map(repr, schema.names))
        raise DataError(
            f"{path}: {schema.names.count(column)} columns are named {column!r}, and one is expected; found {found}. "
            "Name the text column with `column`."
        )
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise DataError(
            f"{path}: column {column!r} holds {kind}, and text is expected. Name another one with `column`."
        )

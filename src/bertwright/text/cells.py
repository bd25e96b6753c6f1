"""The text column of JSON lines, CSV, TSV and Parquet: one text a row, broken rows told apart from empty ones."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bertwright.errors import DataError
from bertwright.text.lines import lines, lines_before
from bertwright.text.streams import unpacked_file
from bertwright.text.troubles import Reading

# The csv module refuses cells over 128 KiB unless told; a gibibyte still keeps an unclosed quote from all the memory.
_LARGEST_CELL = 1 << 30
_DIALECTS: dict[str, dict[str, Any]] = {
    "csv": {"delimiter": ",", "strict": True},
    # In TSV a quote is an ordinary character and a row never goes over a line.
    "tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
_PARQUET_ROWS = 1024
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
        if not line.strip():
            yield ""
            continue
        try:
            row = json.loads(line, object_pairs_hook=_without_repeats)
            text = row[reading.file.column] if isinstance(row, dict) else None
            fault = _text_fault(row, text)
        except KeyError:
            fault = f"no key {reading.file.column!r}"
        except _RepeatedKeyError as error:
            fault = f"the key {error} comes twice"
        except (ValueError, RecursionError) as error:
            # Only the message is the same for all rows of a kind; the place in the line is not.
            fault = f"not JSON ({getattr(error, 'msg', 'too deep or too long a value').removesuffix(' at')})"
        if fault:
            # Counted only where it has to be told: it means reading all that stands before.
            before = lines_before(reading.file, reading.span.first) if before is None else before
            reading.broken(before + number, fault)
        else:
            yield text or ""


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
    csv.field_size_limit(_LARGEST_CELL)
    table = csv.reader(lines(reading), **_DIALECTS[reading.file.format])
    header: list[str] | None = None
    place, end = 0, 0
    while True:
        # A row may go over many lines; its number is that of its first line.
        start, end = end + 1, end
        try:
            row = next(table, None)
        except csv.Error as error:
            end = table.line_num
            if header is None:
                raise DataError(f"{reading.file.path}: the header cannot be read ({error}).") from error
            reading.broken(start, _csv_fault(error, start, end))
            continue
        end = table.line_num
        if row is None:
            return
        if header is None:
            header, place = row, _column(reading, row)
        elif not row:
            yield ""
        elif len(row) != len(header):
            reading.broken(start, f"{len(row)} cells where the header has {len(header)}")
        else:
            yield row[place]


def _csv_fault(error: csv.Error, start: int, end: int) -> str:
    if "unexpected end of data" in str(error):
        return f"a quote opened here is never closed; the {end - start + 1} lines to the end of the file belong to it"
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
    try:
        with unpacked_file(reading.file) as plain, pq.ParquetFile(plain) as table:
            _check_parquet_column(reading, table.schema_arrow)
            size, rows, span = path.stat().st_size, max(1, table.metadata.num_rows), reading.span
            end = table.num_row_groups if span.end is None else span.end
            done = sum(table.metadata.row_group(group).num_rows for group in range(span.start))
            wanted = {"row_groups": range(span.start, end), "columns": [reading.file.column]}
            for batch in table.iter_batches(_PARQUET_ROWS, **wanted, use_threads=False):
                # As bytes, so that wrong UTF-8 meets the same rules as anywhere else.
                for content in batch.column(0).cast(pa.large_string()).cast(pa.large_binary()).to_pylist():
                    done += 1
                    yield reading.decode(content, place=f"the text in row {done}") if content else ""
                reading.progress(size * done // rows)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as parquet ({str(error).splitlines()[0]}). It may be cut off, damaged or of "
            "another format: copy it once more, or name its `format`."
        ) from error


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

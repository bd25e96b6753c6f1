"""Rows as they stand in csv, tsv, jsonl and parquet files, packed or not, under the names that are asked for."""

from __future__ import annotations

import csv
import difflib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bertwright import files
from bertwright.errors import DataError
from bertwright.tasks.layout import Layout
from bertwright.text.cells import LARGEST_CELL
from bertwright.text.documents import ignore
from bertwright.text.lines import lines
from bertwright.text.parquet import faults_explained, rows_at_once
from bertwright.text.sources import Source, TextFile, text_file
from bertwright.text.streams import unpacked_file
from bertwright.text.troubles import Limit, Reading, Troubles

Row = Mapping[str, Any]
_SURROGATE = re.compile("[\ud800-\udfff]")
# What is to be done with a file whose cells are parted by another sign than its suffix says.
_PARTING = {
    "\t": "name the file .tsv, or write it with commas",
    "|": "write it with commas, or as jsonl",
    ";": "write it with commas, or as jsonl",
    ",": "name the file .csv",
}
_ROWS, _BYTES = 1 << 14, 1 << 24  # of parquet, read at once
LONGEST_LINE = 1 << 26
"""Bytes of a row's line, at most: a packed file of some KB can hold a line that fills the memory."""
BY_SEMICOLONS = "its cells are parted by semicolons, and were read so"
"""The note on a csv file that is read otherwise than with commas."""
OTHERWISE = "give it the suffix of what it is"
"""What to do with a file of rows that is no parquet, though its name says so."""


@dataclass
class Heading:
    """The columns that are asked for and, from the first row on, what the file calls them.

    ``optional`` columns are taken where they are, and with ``every`` all that the file begins with; ``notes`` say what
    was read otherwise than a file of its kind is.
    """

    wanted: tuple[str, ...]
    optional: tuple[str, ...] = ()
    layout: Layout = field(default_factory=Layout)
    every: bool = False
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fits(self, found: Collection[str]) -> bool:
        """Return whether all that is wanted is there, under one of its names."""
        return self.known(found) == len(self.wanted) and not (self.every and len(found) < 2)

    def known(self, found: Collection[str]) -> int:
        """Return how many of the wanted columns are there, under one of their names."""
        return sum(self.layout.name_in(found, column) is not None for column in self.wanted)

    def take(self, place: str, found: Sequence[str]) -> None:
        """Note what the file calls each column; ``DataError`` where a wanted one is missing or stands there twice."""
        for column in dict.fromkeys((*self.wanted, *self.optional, *(found if self.every else ()))):
            name = self.layout.name_in(found, column)
            if name is None:
                if column in self.wanted:
                    raise DataError(self._missing(place, found, column))
                continue
            if found.count(name) > 1:
                raise DataError(f"{place}: two columns are called {name!r}; rename one")
            self.names[column] = name

    def _missing(self, place: str, found: Sequence[str], column: str) -> str:
        others = self.layout.columns.get(column, ())
        known = f" (nor {', '.join(others)})" if others else ""
        near = difflib.get_close_matches(column, found, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        parted = f"; {said}" if (said := parted_otherwise(found)) else ""
        return f"{place}: no column {column!r}{known}{hint} (found: {', '.join(map(str, found))}){parted}"

    def pick(self, place: str, row: Row) -> Row:
        """Return a row under the names that were asked for."""
        if any(self.names[column] not in row for column in self.wanted):
            self.take(place, list(row))
        return {column: row[name] for column, name in self.names.items() if name in row}


def parted_otherwise(names: Sequence[str]) -> str | None:
    """Return what to do where a file's one name of a column holds what other files part cells by, else ``None``."""
    if len(names) != 1 or (sign := next((sign for sign in _PARTING if sign in str(names[0])), None)) is None:
        return None
    return f"its cells look parted by {sign!r}: {_PARTING[sign]}"


def all_columns(path: Path, *, most: int) -> tuple[list[Row], list[str]]:
    """Return at most so many rows with all columns that the first one has, and what was read otherwise than usual.

    ``DataError`` where one holds half a character, which nothing can print.
    """
    heading, rows = Heading((), every=True), []
    for number, row in itertools.islice(rows_in(path, heading), most):
        for column, value in row.items():
            for one in (column, *(value if isinstance(value, list) else (value,))):
                whole_characters(str(one), column, f"{path}, row {number}")
        rows.append(row)
    said = parted_otherwise(tuple(heading.names))
    return rows, [*heading.notes, *([said] if said else [])]


def rows_file(path: Path) -> TextFile:
    """Return a file of rows with its format; ``DataError`` where it is a folder, or its name does not say one."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, and rows are read from a file; name the file in it that is meant")
    advice = "Rows are csv, tsv, jsonl or parquet: write them as one of these, or rename the file if it is one."
    return text_file(Source(str(path)), path, advice=advice)


def rows_in(path: Path, heading: Heading) -> Iterator[tuple[int, Row]]:
    """Give number (from 1) and content of each row, once the columns are known to be there."""
    file = rows_file(path)
    kind = (heading.layout.txt or "txt") if file.format == "txt" else file.format
    if kind == "parquet":
        yield from _parquet(file, heading)
        return
    if kind == "txt":
        raise DataError(f"{path}: a task's rows are read from csv, tsv, jsonl or parquet; found a txt file")
    content = _short_lines(file)
    yield from _jsonl(path, content, heading) if kind == "jsonl" else _csv(path, content, heading, kind)


def _short_lines(file: TextFile) -> Iterator[str]:
    """Give the lines of a file; ``DataError`` at one that is too long for a row."""
    limit = Limit(LONGEST_LINE, leave_out=True)
    for number, line in enumerate(lines(Reading(file, "stop", "stop", Troubles(), ignore, limit=limit)), 1):
        if line is None:
            raise DataError(too_long(f"{file.path}, line {number}"))
        yield line


def too_long(place: str) -> str:
    """Return what is said of a line of more than ``LONGEST_LINE`` bytes."""
    return (
        f"{place}: found more than {LONGEST_LINE / 1e6:.0f} MB in one line, and a row has at most that; cut its text, "
        "or part the file into lines"
    )


def json_row(line: str, place: str) -> dict[str, Any]:
    """Return the object of a line, or ``DataError``."""
    try:
        row = files.json_value(line)
    except ValueError as error:
        raise DataError(f"{place}: not valid JSON ({error}); a row is a JSON object on one line") from None
    if not isinstance(row, dict):
        raise DataError(f"{place}: found {type(row).__name__}, expected a JSON object a line")
    return row


def whole_characters(value: str, column: str, place: str) -> str:
    """Return a cell as it is, or ``DataError``: JSON can spell half of a surrogate pair, which no tokenizer takes."""
    if not value.isascii() and (half := _SURROGATE.search(value)):
        raise DataError(
            f"{place}: column {column!r} holds half a character at place {half.start()} ({half[0]!a}); write the whole "
            "character, or remove it"
        )
    return value


def _jsonl(path: Path, content: Iterator[str], heading: Heading) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(content, 1):
        if not line.strip():
            continue
        place = f"{path}, row {number}"
        row = json_row(line, place)
        if not heading.names:
            heading.take(place, list(row))
        yield number, heading.pick(place, row)


def _csv(path: Path, content: Iterator[str], heading: Heading, kind: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(LARGEST_CELL)
    first = next(content, None)
    if first is None:
        raise DataError(f"{path} is empty; a {kind} file needs a header with the names of its columns")
    # In a tsv file a quote is an ordinary character, as in GLUE's files.
    rules: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if kind == "tsv" else {"strict": True}
    broken, reader = 0, csv.reader(())
    try:
        if kind == "csv" and parted_by_semicolons(first, heading):
            rules["delimiter"] = ";"
            heading.notes.append(BY_SEMICOLONS)
        reader = csv.reader(itertools.chain([first], content), **rules)
        header = next(reader, [])
        rows: Iterator[list[str]] = reader
        if (own := _own_header(header, heading)) is not None:
            header, rows = own, itertools.chain([header], reader)
            heading.notes.append(f"it has no header; its columns were taken to be {', '.join(own)}")
        heading.take(str(path), header)
        for number, cells in enumerate(rows, 1):
            if not cells:  # a blank line, as many editors leave at the end
                continue
            if len(cells) != len(header):
                if not heading.layout.broken_rows:
                    raise DataError(
                        f"{path}, row {number}: found {len(cells)} cells, the header has {len(header)}; mend it"
                    )
                broken += 1
                continue
            yield number, heading.pick(f"{path}, row {number}", dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {max(1, reader.line_num)}: not valid {kind} ({error}); mend the line, or write the file "
            "again as jsonl or parquet"
        ) from error
    if broken:
        heading.notes.append(f"{broken:,} broken row(s) without the header's number of cells, left out")


def parted_by_semicolons(first: str, heading: Heading) -> bool:
    """Return whether semicolons part the cells, as spreadsheets of some countries write them: not where commas fit."""
    commas, semicolons = (next(csv.reader([first], delimiter=mark), []) for mark in ",;")
    several = len(semicolons) > 1 == len(commas)
    return not heading.fits(commas) and (several or heading.known(semicolons) > heading.known(commas))


def _own_header(first: Sequence[str], heading: Heading) -> list[str] | None:
    """Return the columns of a file whose first line is a row already, where the task is known for such files."""
    if heading.fits(first):
        return None
    fitting = (own for own in heading.layout.headers if len(own) == len(first) and heading.fits(own))
    return next((list(own) for own in fitting), None)


def _parquet(file: TextFile, heading: Heading) -> Iterator[tuple[int, Row]]:
    path = file.path
    with faults_explained(path, otherwise=OTHERWISE), unpacked_file(file) as plain, pq.ParquetFile(plain) as table:
        heading.take(str(path), table.schema_arrow.names)
        columns, number = list(dict.fromkeys(heading.names.values())), 0
        for batch in table.iter_batches(rows_at_once(table, plain, columns, rows=_ROWS, size=_BYTES), columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield number, heading.pick(f"{path}, row {number}", row)

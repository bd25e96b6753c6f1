"""Labelled rows from csv, tsv, jsonl and parquet files, packed or not."""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bertwright.errors import DataError
from bertwright.tasks.task import Task
from bertwright.text.documents import ignore
from bertwright.text.lines import lines
from bertwright.text.sources import Source, TextFile, text_file
from bertwright.text.streams import unpacked_file
from bertwright.text.troubles import Reading, Troubles

Label = str | float | tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Rows of a task: ids (the file's own or the row's number), texts (one or two a row), and labels."""

    path: Path
    ids: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)


def read(
    path: Path,
    *,
    text: Sequence[str],
    label: str,
    kind: str,
    none_label: str | None = None,
    label_separator: str = ";",
) -> Rows:
    """Read all rows of a labelled file; ``DataError`` names file, row and column of the first fault.

    Labels are words for classification, numbers for regression, and lists of words for multi-label: a list in the file,
    or words parted by ``label_separator``, none for an empty cell or ``none_label``.
    """
    ids, texts, labels = [], [], []
    for number, row in _rows(path, (*text, label)):
        place = f"{path}, row {number}"
        ids.append(str(row.get("id", number)))
        texts.append(tuple(_text(row[column], column, place) for column in text))
        labels.append(_label(row[label], label, kind, none_label, label_separator, place))
    if not ids:
        raise DataError(f"{path} has no rows; a task needs some")
    return Rows(path, tuple(ids), tuple(texts), tuple(labels))


def read_rows(task: Task, path: Path) -> Rows:
    """Read a file of a task; ``DataError`` where the training file has no row with the positive label."""
    rows = read(
        path,
        text=task.text,
        label=task.label,
        kind=task.kind,
        none_label=task.none_label,
        label_separator=task.label_separator,
    )
    if path == task.train and task.positive is not None and task.kind != "regression":
        known = {word for label in rows.labels for word in (label if isinstance(label, tuple) else (str(label),))}
        if task.positive not in known:
            raise DataError(
                f"{path}: the positive label {task.positive!r} of task {task.name} is in no training row "
                f"(found: {', '.join(sorted(known))}); set `positive` to one of these, or correct the labels"
            )
    return rows


def _text(value: Any, column: str, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{place}: column {column!r} holds {value!r}, not text; name the column with the text in `text`"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can spell half of a character's surrogate pair; no tokenizer takes it.
        raise DataError(
            f"{place}: column {column!r} holds half a character at place {error.start} "
            f"({value[error.start]!a}); write the whole character, or remove it"
        ) from None
    return value


def _label(value: Any, column: str, kind: str, none_label: str | None, separator: str, place: str) -> Label:
    if kind == "multi-label":
        return _several(value, column, none_label, separator, place)
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        raise DataError(f"{place}: column {column!r} is empty; every row needs a label")
    if kind == "regression":
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{place}: label {value!r} is not a number; a regression needs numbers") from None
        except OverflowError:
            raise DataError(f"{place}: column {column!r} holds a number too large to use; scale the labels") from None
        if not math.isfinite(number):
            raise DataError(f"{place}: label {value!r} is not a finite number")
        return number
    if isinstance(value, (list, dict)):
        raise DataError(
            f"{place}: column {column!r} holds {value!r}, expected one label; for several a row set `kind: multi-label`"
        )
    return str(value)


def _several(value: Any, column: str, none_label: str | None, separator: str, place: str) -> tuple[str, ...]:
    """Return a row's labels, none of them ``none_label``; a list is taken as it is, anything else is parted."""
    if value is None:
        return ()
    if not isinstance(value, list):
        value = [] if value == none_label else [word.strip() for word in str(value).split(separator) if word.strip()]
    for word in value:
        if word is None or isinstance(word, (list, dict)):
            raise DataError(
                f"{place}: column {column!r} holds {value!r}; expected a list of labels, none of them empty"
            )
    return tuple(str(word) for word in value if word != none_label)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Give number (from 1) and content of each row, once the columns are known to be there."""
    file = text_file(Source(str(path)), path)
    if file.format == "parquet":
        yield from _parquet(file, columns)
        return
    if file.format == "txt":
        raise DataError(f"{path}: a task's rows are read from csv, tsv, jsonl or parquet; found a txt file")
    # Without a limit no line is left out.
    content = filter(None, lines(Reading(file, "stop", "stop", Troubles(), ignore)))
    yield from _jsonl(path, content, columns) if file.format == "jsonl" else _csv(path, content, columns, file.format)


def _jsonl(path: Path, content: Iterator[str], columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(content, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, row {number}: not valid JSON ({error})") from None
        except RecursionError:
            raise DataError(f"{path}, row {number}: JSON nested too deep; a row is an object of plain values") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: found {type(row).__name__}, expected a JSON object a line")
        _check_columns(f"{path}, row {number}", row, columns)
        yield number, row


def _csv(
    path: Path, content: Iterator[str], columns: Sequence[str], kind: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(1 << 30)
    # In a tsv file a quote is an ordinary character, as in GLUE's files.
    rules: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if kind == "tsv" else {"strict": True}
    reader = csv.reader(content, **rules)
    try:
        header = next(reader, None)
        if header is None:
            raise DataError(f"{path} is empty; a {kind} file needs a header with the names of its columns")
        _check_columns(str(path), header, columns)
        for number, cells in enumerate(reader, 1):
            if not cells:  # a blank line, as many editors leave at the end
                continue
            if len(cells) != len(header):
                raise DataError(f"{path}, row {number}: found {len(cells)} cells, the header has {len(header)}")
            yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid {kind} ({error})") from error


def _parquet(file: TextFile, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    path = file.path
    try:
        with unpacked_file(file) as plain, pq.ParquetFile(plain) as table:
            names = table.schema_arrow.names
            _check_columns(str(path), names, columns)
            wanted = [name for name in names if name in (*columns, "id")]
            number = 0
            for batch in table.iter_batches(columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({error})") from error


def _check_columns(place: str, found: Sequence[str] | Mapping[str, Any], columns: Sequence[str]) -> None:
    names = list(found)
    for column in columns:
        if column not in names:
            near = difflib.get_close_matches(column, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{place}: no column {column!r}{hint} (found: {', '.join(map(str, names))})")
        if names.count(column) > 1:
            raise DataError(f"{place}: two columns are called {column!r}; rename one")

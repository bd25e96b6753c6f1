"""Labelled rows of a task: texts and labels made of a file's cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertwright.errors import DataError
from bertwright.tasks.brackets import repaired
from bertwright.tasks.cells import Heading, Row, rows_in, whole_characters
from bertwright.tasks.dev_pairs import IDS, LIST, not_told_apart
from bertwright.tasks.kept_back import kept_back
from bertwright.tasks.label_words import word_of
from bertwright.tasks.layout import Layout
from bertwright.tasks.task import SetForm, Task
from bertwright.tasks.texts import columns_of, filled

Label = str | float | tuple[str, ...]

_LARGEST = float(np.finfo(np.float32).max)  # labels are learnt, and compared, in fp32
_SHOWN = 80  # characters of a cell in a message


@dataclass(frozen=True)
class Rows:
    """Rows of a task: ids (the file's own or the row's number), texts (one or two a row), and labels (maybe none).

    ``columns`` are others that were asked for, as words; ``notes`` say what was left out, or read otherwise than usual.
    ``drawn`` rows are some of their file's, as `train_rows` asks.
    """

    path: Path
    ids: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    labels: tuple[Label, ...]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    drawn: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def some(self, chosen: Sequence[int]) -> Rows:
        """Return the rows of these numbers, in this order."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in chosen),
            texts=tuple(self.texts[row] for row in chosen),
            labels=tuple(self.labels[row] for row in chosen),
            columns={name: tuple(values[row] for row in chosen) for name, values in self.columns.items()},
        )


def read(
    path: Path,
    *,
    text: Sequence[str],
    label: str | None,
    kind: str,
    none_label: str | None = None,
    label_separator: str = ";",
    layout: Layout | None = None,
    columns: Sequence[str] = (),
) -> Rows:
    """Read all rows of a file; ``DataError`` names file, row and column of the first fault.

    A text is a column, or a pattern such as ``{title} {body}`` that joins some. Labels are words for classification,
    numbers for regression, and lists of words for multi-label: a list in the file, or words parted by
    ``label_separator``, none for an empty cell or ``none_label``. Without a ``label`` column the rows have no labels.
    """
    layout = layout or Layout()
    reading = _Labels(label, kind, none_label, label_separator, layout)
    wanted = dict.fromkeys([*columns_of(text), *([label] if label else []), *columns])
    heading = Heading(tuple(wanted), ("id",), layout)
    ids, texts, labels = [], [], []
    others: dict[str, list[str]] = {column: [] for column in columns}
    left, marked = Counter[str](), 0
    for number, row in rows_in(path, heading):
        place = f"{path}, row {number}"
        row_label = reading.of(row, heading, place) if label else None
        if isinstance(row_label, str) and row_label in layout.left_out:
            left[row_label] += 1
            continue
        row_texts = tuple(filled(one, _cells_of(row, place)) for one in text)
        if layout.brackets:
            plain = tuple(repaired(part) for part in row_texts)
            marked, row_texts = marked + (plain != row_texts), plain
        ids.append(whole_characters(str(row.get("id", number)), "id", place))
        texts.append(row_texts)
        if row_label is not None:
            labels.append(row_label)
        for column, values in others.items():
            values.append(whole_characters(str(row[column]), column, place))
    if not ids:
        raise DataError(f"{path} has no rows{_left(left, ' that have a label')}; a task needs some")
    notes = [f"{path.name}: {note}" for note in (*heading.notes, *_notes(left, marked), *_odd_texts(texts, text))]
    extra = {column: tuple(values) for column, values in others.items()}
    return Rows(path, tuple(ids), tuple(texts), tuple(labels), extra, tuple(notes))


def read_rows(task: Task, path: Path) -> Rows:
    """Read a file of a task; ``DataError`` where the training file has no row with the positive label.

    Of the training file, rows that are kept back for exit thresholds stay away.
    """
    rows = _drawn(task) if path == task.train else _read_as(task, task.own_form, path)
    if path == task.train and task.keep_back is not None:
        learnt, kept = kept_back(rows.labels, task.kind, task.keep_back)
        note = f"{path.name}: {len(kept):,} of {len(rows):,} rows are kept back, for exit thresholds alone"
        rows = replace(rows.some(learnt), notes=(*rows.notes, note))
    if path == task.train and task.positive is not None and task.kind != "regression":
        known = {word for label in rows.labels for word in (label if isinstance(label, tuple) else (str(label),))}
        if task.positive not in known:
            raise DataError(
                f"{path}: the positive label {task.positive!r} of task {task.name} is in no training row "
                f"(found: {some_of(sorted(known))}); set `positive` to one of these, or correct the labels"
            )
    return rows


def some_of(names: Sequence[str], most: int = 12) -> str:
    """Return names for a message, of many the first and how many there are, and of long ones the begin."""
    short = (name if len(name) <= _SHOWN else f"{name[:_SHOWN]} ..." for name in names[:most])
    return ", ".join(short) + (f", ... {len(names):,} in all" if len(names) > most else "")


def read_kept_back(task: Task) -> Rows:
    """Read the training rows that ``read_rows`` leaves out; ``DataError`` where there is none."""
    rows = _drawn(task)
    _, kept = kept_back(rows.labels, task.kind, task.keep_back or 0.0)
    if not kept:
        raise DataError(
            f"{task.train}: of its {len(rows)} row(s) none can be kept back for exit thresholds: at most half are, and "
            "none without which a label has no row; add rows, or name a set of the task in `exits.calibrate_on`"
        )
    return rows.some(kept)


def _drawn(task: Task) -> Rows:
    """Read the training file, all of it or what ``train_rows`` draws."""
    rows = _without_dev(task, _read_as(task, task.own_form, task.train, IDS if task.without else ()))
    return rows if task.train_rows is None else _some_of(rows, task.train_rows, task.kind)


def _without_dev(task: Task, rows: Rows) -> Rows:
    """Return the training rows that are no pairs of dev; where any may be, ``rows`` have the columns of both ids."""
    if not task.without:
        said = not_told_apart(task)
        return rows if said is None else replace(rows, notes=(*rows.notes, said))
    out = set(task.without)
    pairs = zip(*(rows.columns[name] for name in IDS), strict=True)
    kept = [number for number, pair in enumerate(pairs) if " ".join(pair) not in out]
    note = f"{rows.path.name}: {len(rows) - len(kept):,} pairs are of GLUE's dev set, as {LIST} says, and left out"
    return replace(rows.some(kept), columns={}, notes=(*rows.notes, note))


def _some_of(rows: Rows, count: int, kind: str) -> Rows:
    """Return so many rows, always the same ones, in their own order."""
    if count >= len(rows):
        return rows
    drawn = np.random.Generator(np.random.Philox(key=[0, 0])).permutation(len(rows))[:count]
    some = rows.some(sorted(int(row) for row in drawn))
    note = f"{rows.path.name}: {count:,} of {len(rows):,} rows are learnt from, as `train_rows` asks"
    words = _words(some)
    lost = sorted(_words(rows) - words)
    if lost and len(words) < (1 if kind == "multi-label" else 2):
        raise DataError(
            f"{rows.path}: the {count:,} row(s) that `train_rows` draws hold {len(words)} of {len(words) + len(lost)} "
            "labels, and a model needs some to tell apart; raise `train_rows`"
        )
    note += f"; none of them has the label(s) {some_of(lost)}" if lost else ""
    return replace(some, notes=(*rows.notes, note), drawn=True)


def _words(rows: Rows) -> set[str]:
    """Return the labels of rows that have words for labels."""
    each = (label if isinstance(label, tuple) else (label,) for label in rows.labels)
    return {word for words in each for word in words if isinstance(word, str)}


def read_set(task: Task, name: str, path: Path | None = None) -> Rows:
    """Read a set to score on, with the columns that its scores ask for; ``path`` is where it lies now."""
    form = task.form(name)
    return _read_as(task, form, path or task.sets[name], form.columns)


def _read_as(task: Task, form: SetForm, path: Path, columns: Sequence[str] = ()) -> Rows:
    return read(
        path,
        text=form.text,
        label=form.label,
        kind=task.kind,
        none_label=task.none_label,
        label_separator=task.label_separator,
        layout=form.layout,
        columns=columns,
    )


def _cells_of(row: Row, place: str) -> Callable[[str], str]:
    return lambda column: _text(row[column], column, place)


def _text(value: Any, column: str, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{place}: column {column!r} holds {value!r}, not text; name the column with the text in `text`"
        )
    return whole_characters(value, column, place)


@dataclass(frozen=True)
class _Labels:
    """How the labels of one file are read."""

    column: str | None
    kind: str
    none_label: str | None
    separator: str
    layout: Layout

    def of(self, row: Row, heading: Heading, place: str) -> Label:
        """Return a row's label; ``DataError`` where it is none, or not one of the task's."""
        name = heading.names[str(self.column)]
        value = row[str(self.column)]
        if self.kind == "multi-label":
            words = _several(value, name, self.none_label, self.separator, place)
            return tuple(self._known(word, name, place) for word in words)
        if value is None or (isinstance(value, str) and not value.strip()) or value != value:
            raise DataError(f"{place}: column {name!r} is empty; every row needs a label")
        if self.kind == "regression":
            return self._number(value, name, place)
        if isinstance(value, list | dict):
            raise DataError(
                f"{place}: column {name!r} holds {value!r}, expected one label; for several a row set "
                "`kind: multi-label`"
            )
        return self._known(value, name, place)

    def _known(self, value: Any, name: str, place: str) -> str:
        own = word_of(value)
        if own is None:
            raise DataError(
                f"{place}: column {name!r} holds {value!r:.{_SHOWN}}, expected a label, which is a word or a number; "
                "write it as text"
            )
        if not self.layout.labels:
            return whole_characters(own, name, place)
        word = self.layout.word(value, name)
        if word is None:
            spelt = dict.fromkeys([*self.layout.labels, *self.layout.words.get(name, self.layout.words.get("*", {}))])
            raise DataError(
                f"{place}: column {name!r} holds the label {value!r}, which is none of this task's "
                f"({', '.join(spelt)}); correct it, or describe the file as a task of your own, without `known`"
            )
        return word

    def _number(self, value: Any, name: str, place: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{place}: label {value!r} is not a number; a regression needs numbers") from None
        except OverflowError:
            raise DataError(_too_large(name, place)) from None
        if not math.isfinite(number):
            raise DataError(f"{place}: label {value!r} is not a finite number; correct it")
        if abs(number) > _LARGEST:
            raise DataError(_too_large(name, place))
        low, high = self.layout.span or (number, number)
        if not low <= number <= high:
            raise DataError(
                f"{place}: label {value!r} is not a score of this task, which are from {low:g} to {high:g}; a file "
                "without labels cannot be trained on or scored"
            )
        return number


def _too_large(column: str, place: str) -> str:
    return f"{place}: column {column!r} holds a number too large to use; scale the labels"


def _several(value: Any, column: str, none_label: str | None, separator: str, place: str) -> tuple[str, ...]:
    """Return a row's labels, none of them ``none_label``; a list is taken as it is, anything else is parted.

    An absent value is no label, and so is NaN, which tables write for it.
    """
    if value is None or value != value:
        return ()
    words = [word_of(one) for one in (value if isinstance(value, list) else [value])]
    if not isinstance(value, list) and words[0] is not None:
        words = [part.strip() for part in words[0].split(separator) if part.strip()] if words[0] != none_label else []
    if not all(words) or (isinstance(value, list) and any(one != one for one in value)):
        raise DataError(
            f"{place}: column {column!r} holds {value!r:.{_SHOWN}}; expected a list of labels, none of them empty, or "
            f"words parted by {separator!r}"
        )
    return tuple(word for word in words if word is not None and word != none_label)


def _left(left: Counter[str], what: str = "") -> str:
    if not left:
        return ""
    counts = ", ".join(f"{count:,} with {word!r}" for word, count in sorted(left.items()))
    return f"{what} ({counts} in place of one)"


def _notes(left: Counter[str], marked: int) -> Iterable[str]:
    if left:
        yield f"{sum(left.values()):,} row(s) without a label, left out{_left(left)}"
    if marked:
        yield f"{marked:,} row(s) had treebank marks such as -LRB-, which became the brackets and quotes they stand for"


def _odd_texts(texts: Sequence[tuple[str, ...]], names: Sequence[str]) -> Iterable[str]:
    """Note rows without any text, and texts that are numbers in most rows: most likely the wrong column."""
    if blank := sum(not any(part.strip() for part in row) for row in texts):
        yield f"{blank:,} of {len(texts):,} row(s) have no text; take them out, or name the column with the text"
    for place, name in enumerate(names):
        numbers = sum(len(row[place]) <= _SHOWN and is_number(row[place]) for row in texts)
        if numbers > len(texts) / 2:
            some = f"{numbers:,} of {len(texts):,} texts in {name!r} are numbers"
            every = f"every text in {name!r} is a number"
            yield f"{every if numbers == len(texts) else some}; is that the column with the text?"


def is_number(text: str) -> bool:
    """Return whether a cell reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True

"""What a labelled file looks like: a guess at its columns, to be confirmed by pasting it into a recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bertwright.errors import DataError
from bertwright.tasks.cells import Row, all_columns
from bertwright.tasks.joined_labels import joined_labels
from bertwright.tasks.label_words import word_of

_MOST_ROWS = 20_000  # of a file that a guess looks at
_MOST_LABELS = 100
_SHOWN, _WIDTH = 3, 60
# What people call these columns; where several fit, the first that is there is taken.
_LABELS = ("label", "labels", "gold_label", "class", "category", "target", "score", "rating", "y", "is_duplicate")
_NONE = "none"
_NAME_WORDS = 5  # of a column's name, at most
_PAIRS = ({"premise", "hypothesis"}, {"claim", "evidence"}, {"question", "sentence"})
_IDS = ("id", "idx", "index", "guid", "pairid", "row")


@dataclass(frozen=True)
class Column:
    """What the values of a column look like: how many differ, how many are empty, words a value, and numbers or not."""

    name: str
    values: int
    empty: int
    words: float
    numbers: bool
    whole: bool
    lists: bool

    def sentence(self) -> str:
        """Say it in words."""
        kind = "lists" if self.lists else "numbers" if self.numbers else f"text of {self.words:.1f} words"
        gaps = f", {self.empty:,} empty" if self.empty else ""
        return f"{kind}, {self.values:,} different{gaps}"


@dataclass(frozen=True)
class Guess:
    """A file's columns, which of them look like text and label, and a few rows."""

    path: Path
    rows: int
    columns: tuple[Column, ...]
    text: tuple[str, ...]
    label: str | None
    kind: str
    counts: Mapping[str, int]
    shown: tuple[Row, ...]
    notes: tuple[str, ...]

    def recipe(self) -> str:
        """Return the lines to paste into a recipe."""
        task: dict[str, Any] = {"name": "task", "train": str(self.path), "sets": {"dev": "FILE TO SCORE ON"}}
        task |= {"kind": self.kind} if self.kind != "classification" else {}
        task["text"] = list(self.text) if len(self.text) > 1 else self.text[0]
        task["label"] = self.label
        task |= {"none_label": _NONE} if self.kind == "multi-label" and _NONE in self.counts else {}
        return yaml.safe_dump({"tasks": [task]}, sort_keys=False, allow_unicode=True, width=200)

    def lines(self) -> list[str]:
        """Return all for a terminal."""
        width = max(len(column.name) for column in self.columns)
        lines = [f"{self.path}: {self.rows:,} rows looked at", *(f"note: {note}" for note in self.notes)]
        lines += [f"  {column.name:{width}}  {column.sentence()}" for column in self.columns]
        if not self.text or self.label is None:
            missing = " and ".join([*([] if self.text else ["text"]), *([] if self.label else ["label"])])
            lines += [f"no column looks like {missing}; name `text` and `label` of the task yourself"]
            return lines if self.notes or not _is_table(self.path) else [*lines, _names_above()]
        lines += [f"text: {', '.join(self.text)}; label: {self.label}; kind: {self.kind}"]
        if self.counts:
            lines += [f"labels: {', '.join(f'{name} ({count:,})' for name, count in self.counts.items())}"]
        lines += [f"  {self._shown(row)}" for row in self.shown]
        return [*lines, "This is a guess. If it is right, paste it into a recipe:", "", *self.recipe().splitlines()]

    def _shown(self, row: Row) -> str:
        # A later row of jsonl may lack what the first one has.
        return " | ".join(_short(str(row.get(name, ""))) for name in (str(self.label), *self.text))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        columns = [{"name": column.name, "looks": column.sentence()} for column in self.columns]
        found = {"rows": self.rows, "columns": columns, "text": list(self.text), "label": self.label}
        whole = bool(self.text) and self.label is not None
        labels = dict(self.counts)
        notes = list(self.notes)
        recipe = self.recipe() if whole else None
        return {"file": self.path, **found, "kind": self.kind, "labels": labels, "notes": notes, "recipe": recipe}


def guess_task(path: Path) -> Guess:
    """Look at a file's first rows; ``DataError`` where it cannot be read or holds none. Nothing else uses the guess."""
    rows, notes = all_columns(path, most=_MOST_ROWS)
    first = next((row for row in rows if row), None)
    if first is None:
        raise DataError(
            f"{path} has no rows to look at; name a file with a header, or with an object a line, and some rows"
        )
    notes += _no_header(path, rows)
    columns = tuple(_column(name, [row.get(name) for row in rows]) for name in first)
    label = _label(columns, len(rows))
    texts = _texts([column for column in columns if column is not label])
    kind = _kind(label, [row.get(label.name) for row in rows]) if label else "classification"
    counts = _counts(rows, label.name) if label and kind != "regression" else {}
    if label and kind == "classification":
        words = (_word(value) for row in rows if (value := row.get(label.name)) is not None)
        notes += [f"column {label.name}: {said}"] if (said := joined_labels(words, kind)) is not None else []
    if label and label.empty and kind != "multi-label":
        notes.append(f"column {label.name} is empty in {label.empty:,} rows; fill it in, or remove them")
    names = tuple(column.name for column in texts)
    own = label.name if label else None
    return Guess(path, len(rows), columns, names, own, kind, counts, tuple(rows[:_SHOWN]), tuple(notes))


def _no_header(path: Path, rows: Sequence[Row]) -> list[str]:
    """Note a table whose first line, which gives columns their names, looks like a row."""
    odd = next((name for name in rows[0] if _like_a_cell(name, [row.get(name) for row in rows])), None)
    return [] if odd is None or not _is_table(path) else [_names_above(f" and holds {_short(odd)!r}")]


def _names_above(but: str = "") -> str:
    """Say what to do where the first line of a table is a row."""
    return (
        f"its first line was taken for the names of its columns{but}; where it is a row, write a line with names above "
        "it"
    )


def _is_table(path: Path) -> bool:
    """Whether a file's columns have their names from its first line."""
    return bool({".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes})


def _like_a_cell(name: str, values: Sequence[Any]) -> bool:
    """Whether a column's name is a number, a sentence, nothing, or what stands below it too."""
    return not name or _number(name) is not None or len(name.split()) > _NAME_WORDS or name in values


def _column(name: str, values: Sequence[Any]) -> Column:
    full = [value for value in values if value is not None and value != "" and value == value]
    numbers = [_number(value) for value in full]
    words = [len(value.split()) for value in full if isinstance(value, str)]
    return Column(
        name=name,
        values=len({str(value) for value in full}),
        empty=len(values) - len(full),
        words=sum(words) / len(words) if words else 0.0,
        numbers=bool(full) and all(number is not None for number in numbers),
        whole=all(number is not None and number.is_integer() for number in numbers),
        lists=bool(full) and all(isinstance(value, list) for value in full),
    )


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _label(columns: Sequence[Column], rows: int) -> Column | None:
    """Return the column that is called like a label or else, of those with few values, the one with the fewest."""
    by_name = {column.name.lower(): column for column in columns}
    if named := next((by_name[name] for name in _LABELS if name in by_name), None):
        return named
    few = [column for column in columns if 1 < column.values <= min(_MOST_LABELS, rows // 2)]
    return min(few, key=lambda column: column.values, default=None)


def _texts(columns: Sequence[Column]) -> list[Column]:
    """Return one column or two: those with the most words, in the order of the file."""
    texts = [c for c in columns if not c.numbers and not c.lists and c.words > 1.0 and c.name.lower() not in _IDS]
    longest = sorted(texts, key=lambda column: -column.words)[:2]
    # A short second column (a title, a source) is seldom the other half of a pair, unless their names say that it is.
    if len(longest) == 2 and longest[1].words < 0.25 * longest[0].words and not _are_pair(longest):
        longest = longest[:1]
    return [column for column in texts if column in longest]


def _are_pair(columns: Sequence[Column]) -> bool:
    """Whether two columns are called as those of a pair are: sentence1 and sentence2, claim and evidence."""
    names = {column.name.lower() for column in columns}
    return names in _PAIRS or ({name[-1:] for name in names} == {"1", "2"} and len({name[:-1] for name in names}) == 1)


def _kind(label: Column, values: Sequence[Any]) -> str:
    if label.lists or any(isinstance(value, str) and ";" in value for value in values):
        return "multi-label"
    many = label.values > _MOST_LABELS
    return "regression" if label.numbers and (many or not label.whole) else "classification"


def _counts(rows: Sequence[Row], label: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        value = row.get(label)
        parts = value if isinstance(value, list) else _word(value).split(";") if value is not None else []
        counts.update(word for part in parts if (word := _word(part).strip()))
    return dict(counts.most_common(_MOST_LABELS))


def _word(value: Any) -> str:
    """Return a label as a task reads it, and what would be none as it is printed."""
    return word_of(value) or str(value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."

"""How publishers write a known task's files: their names of columns, what their labels mean, rows without a label."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

ANY = "*"
"""Stands for the label column under whatever name a file has it."""


@dataclass(frozen=True)
class Layout:
    """What may differ between the files of one task. It is applied to each file as that file turns out to be.

    ``columns`` are other names of a column, in the order in which they are tried; ``words`` give, by a file's own name
    of the label column, the task's word for what stands there. ``labels`` are all words there are (none: any), ``span``
    the lowest and highest number of a regression. Rows whose label is in ``left_out`` are counted and not read.
    ``headers`` are the columns of files that begin without any, ``txt`` is the format of a ``.txt`` file, and
    ``broken_rows`` lets rows with a wrong number of cells be counted and not read. ``brackets`` has treebank marks such
    as -LRB- turned back into what they stand for.
    """

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    left_out: tuple[str, ...] = ()
    headers: tuple[tuple[str, ...], ...] = ()
    txt: str | None = None
    broken_rows: bool = False
    brackets: bool = False

    def name_in(self, found: Collection[str], column: str) -> str | None:
        """Return a file's own name of a column; ``None`` where it has none."""
        return next((name for name in (column, *self.columns.get(column, ())) if name in found), None)

    def word(self, value: Any, column: str) -> str | None:
        """Return the task's word for what stands in a label column of that name; ``None`` where it means nothing."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of whole numbers with gaps comes as fractions
        text = str(value).strip()
        word = self.words.get(column, self.words.get(ANY, {})).get(text, text)
        return word if not self.labels or word in self.labels or word in self.left_out else None

    def options(self) -> dict[str, Any]:
        """Return what is not as usual, as plain values."""
        usual = Layout()
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _plain(value) for name, value in found.items() if value != getattr(usual, name)}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Layout:
        """Return the layout that ``options`` described."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
        }
        if "columns" in values:
            values["columns"] = {name: tuple(others) for name, others in values["columns"].items()}
        if "headers" in values:
            values["headers"] = tuple(tuple(header) for header in values["headers"])
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value

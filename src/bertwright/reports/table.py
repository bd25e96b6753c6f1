"""A table of plain strings: the page and the terminal print the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len


@dataclass(frozen=True)
class Table:
    """A table with its heading, its rows of strings, and a caption that says what the numbers are.

    ``numeric`` names the columns that are set to the right; ``strong`` the rows that a reader looks for first.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: frozenset[str] = frozenset()
    strong: frozenset[int] = frozenset()

    def only(self, columns: Sequence[str]) -> Table:
        """Return the table with those of the named columns that it has."""
        places = [place for place, name in enumerate(self.columns) if name in columns]
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return replace(self, columns=tuple(self.columns[place] for place in places), rows=rows)

    def lines(self) -> list[str]:
        """Return the table as lines of text, columns lined up by what a terminal shows."""
        cells = [self.columns, *self.rows]
        widths = [max(cell_len(row[place]) for row in cells) for place in range(len(self.columns))]
        return [
            "  ".join(
                _padded(text, width, right=name in self.numeric)
                for text, width, name in zip(row, widths, self.columns, strict=True)
            ).rstrip()
            for row in cells
        ]

    def told(self) -> list[str]:
        """Return the table as lines below its title and caption, an empty line above; nothing without rows."""
        title = f"{self.title}. {self.caption}" if self.caption else self.title
        return ["", title, *self.lines()] if self.rows else []


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space

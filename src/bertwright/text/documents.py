"""Documents of one file, as a stream of normalised texts.

A text is normalised when every run of whitespace, line ends included, is one space and none stands at its ends; words
are never glued. Lines end at \\n or \\r\\n and nowhere else: a lone \\r, U+2028 and their like are whitespace inside a
line. A line is blank when it holds only whitespace. A byte-order mark of UTF-8 is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bertwright.text.cells import cells
from bertwright.text.lines import lines
from bertwright.text.sources import TextFile
from bertwright.text.troubles import EMPTY, BrokenRow, Reading, Troubles

__all__ = ["BrokenRow", "Troubles", "documents", "ignore", "normalise"]


def ignore(_: int) -> None:
    """Take a report of progress and do nothing."""


def normalise(text: str) -> str:
    """Return a text with every run of whitespace as one space and none at its ends."""
    return " ".join(text.split())


def documents(
    file: TextFile,
    *,
    errors: str,
    broken_rows: str,
    troubles: Troubles,
    progress: Callable[[int], None] = ignore,
) -> Iterator[str]:
    """Give the normalised text of each document of a file, in order; only one document is in memory at a time.

    ``errors`` (``stop`` or ``replace``) is about bytes that are not UTF-8, ``broken_rows`` (``stop`` or ``skip``) about
    rows that cannot be read. What is replaced, left out or empty is noted in ``troubles``. ``progress`` is told how
    many bytes of the file, as it lies on the disk, are read. ``DataError`` names the file and the place.
    """
    reading = Reading(file, errors, broken_rows, troubles, progress)
    if file.format == "txt":
        # Blank lines of a txt file part documents or say nothing; blank rows of the other formats are counted.
        yield from (
            _paragraphs(lines(reading)) if file.boundary == "blank_line" else _texts(lines(reading), file.boundary)
        )
        return
    rows = _counting_empty(cells(reading), troubles)
    yield from _texts(rows, file.boundary)


def _paragraphs(file_lines: Iterator[str]) -> Iterator[str]:
    """Give the runs of lines that blank lines part."""
    run: list[str] = []
    for line in file_lines:
        words = line.split()
        if words:
            run.append(" ".join(words))
        elif run:
            yield " ".join(run)
            run = []
    if run:
        yield " ".join(run)


def _texts(rows: Iterator[str], boundary: str) -> Iterator[str]:
    """Give each row that has text, or all of them as one text."""
    texts = filter(None, map(normalise, rows))
    if boundary == "file":
        whole = " ".join(texts)
        texts = filter(None, [whole])
    yield from texts


def _counting_empty(rows: Iterator[str], troubles: Troubles) -> Iterator[str]:
    for row in rows:
        if not row or row.isspace():
            troubles.count(EMPTY)
        yield row

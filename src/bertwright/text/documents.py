"""Documents of one file, as a stream of normalised texts.

A text is normalised when every run of whitespace, line ends included, is one space and none stands at its ends; words
are never glued. Lines end at \\n or \\r\\n and nowhere else: a lone \\r, U+2028 and their like are whitespace inside a
line. A line is blank when it holds only whitespace. A byte-order mark of UTF-8 is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from bertwright.text.cells import cells
from bertwright.text.lines import blocks, lines
from bertwright.text.sources import TextFile
from bertwright.text.troubles import EMPTY, BrokenRow, Reading, Span, Troubles

__all__ = ["BrokenRow", "Span", "Troubles", "documents", "ignore", "normalise"]


_LONG = 1 << 22
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n")
_SPACE = re.compile(r"\s")


def ignore(_: int) -> None:
    """Take a report of progress and do nothing."""


def normalise(text: str) -> str:
    """Return a text with every run of whitespace as one space and none at its ends."""
    if len(text) <= _LONG:
        return " ".join(text.split())
    # A list of all words of a text of hundreds of megabytes would take many times its size.
    cuts = [0]
    while len(text) - cuts[-1] > _LONG and (space := _SPACE.search(text, cuts[-1] + _LONG)):
        cuts.append(space.end())
    runs = (" ".join(text[start:end].split()) for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True))
    return " ".join(filter(None, runs))


def documents(
    file: TextFile,
    *,
    errors: str,
    broken_rows: str,
    troubles: Troubles,
    progress: Callable[[int], None] = ignore,
    span: Span | None = None,
) -> Iterator[str]:
    """Give the normalised text of each document of a file or a span, in order; one document is in memory at a time.

    ``errors`` (``stop`` or ``replace``) is about bytes that are not UTF-8, ``broken_rows`` (``stop`` or ``skip``) about
    rows that cannot be read. What is replaced, left out or empty is noted in ``troubles``. ``progress`` is told how
    many bytes of the file, as it lies on the disk, are read. ``DataError`` names the file and the place.
    """
    reading = Reading(file, errors, broken_rows, troubles, progress, span or Span())
    if file.format == "txt":
        # Blank lines of a txt file part documents or say nothing; blank rows of the other formats are counted.
        if file.boundary == "blank_line":
            yield from filter(None, map(normalise, _paragraphs(blocks(reading))))
        else:
            yield from _texts(lines(reading), file.boundary)
        return
    rows = _counting_empty(cells(reading), troubles)
    yield from _texts(rows, file.boundary)


def _paragraphs(text_blocks: Iterator[str]) -> Iterator[str]:
    """Give what stands between blank lines, in blocks that begin and end where lines do; some of it may be blank."""
    pieces: list[str] = []
    for block in text_blocks:
        # The newline in front lets the first line be seen as blank.
        first, *others = _BLANK_LINES.split("\n" + block)
        pieces.append(first)
        for other in others:
            yield "".join(pieces)
            pieces = [other]
    yield "".join(pieces)


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

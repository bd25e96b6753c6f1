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
from bertwright.text.troubles import EMPTY, TOO_LONG, Limit, Reading, Span, Troubles

__all__ = ["Troubles", "documents", "ignore", "normalise"]

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n")
# All that ``str.split`` parts words at, but for the space.
_NARROW = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0"
_WIDE = "\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


def ignore(_: object) -> None:
    """Take a report and do nothing."""


def normalise(text: str) -> str:
    """Return a text with every run of whitespace as one space and none at its ends."""
    # The same as " ".join(text.split()), twice as fast: most texts hold few kinds of whitespace.
    for space in _NARROW if text.isascii() else _NARROW + _WIDE:
        if space in text:
            text = text.replace(space, " ")
    while "  " in text:
        text = text.replace("  ", " ")
    return text.strip(" ")


def documents(
    file: TextFile,
    *,
    errors: str,
    broken_rows: str,
    troubles: Troubles,
    progress: Callable[[int], None] = ignore,
    span: Span | None = None,
    limit: Limit | None = None,
    seen: Callable[[str], None] = ignore,
) -> Iterator[str]:
    """Give the normalised text of each document of a file or a span, in order; one document is in memory at a time.

    ``errors`` (``stop`` or ``replace``) is about bytes that are not UTF-8, ``broken_rows`` (``stop`` or ``skip``) about
    rows that cannot be read. What is replaced, left out or empty is noted in ``troubles``. ``progress`` is told how
    many bytes of the file, as it lies on the disk, are read. ``limit`` is about very long documents; ``seen`` is
    shown each document, of whole files each row, as it stands in the file. ``DataError`` names the file and the place.
    """
    reading = Reading(file, errors, broken_rows, troubles, progress, span or Span(), limit or Limit())
    if file.format == "txt":
        # Blank lines of a txt file part documents or say nothing; blank rows of the other formats are counted.
        if file.boundary == "blank_line":
            yield from filter(None, map(normalise, _shown(_paragraphs(reading), seen)))
        else:
            yield from _texts(_shown(_counting_long(lines(reading), reading), seen), reading)
        return
    rows = _counting_empty(cells(reading), troubles)
    yield from _texts(_shown(rows, seen), reading)


def _shown(texts: Iterator[str], seen: Callable[[str], None]) -> Iterator[str]:
    for text in texts:
        seen(text)
        yield text


def _paragraphs(reading: Reading) -> Iterator[str]:
    """Give what stands between blank lines; some of it may be blank."""
    paragraph = _Pieces(reading)
    for block in blocks(reading):
        if block is None:
            paragraph.long = True
            continue
        # The newline in front lets the first line be seen as blank.
        first, *others = _BLANK_LINES.split("\n" + block)
        paragraph.add(first)
        for other in others:
            yield paragraph.take()
            paragraph.add(other)
    yield paragraph.take()


class _Pieces:
    """The pieces of one document; of one that is too long nothing is kept."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._pieces: list[str] = []
        self._size = 0
        self.long = False

    def add(self, piece: str) -> None:
        self._size += len(piece)
        self.long = self.long or self._reading.over(self._size)
        if self.long:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def take(self, between: str = "") -> str:
        """Return the document, nothing where it is left out, and begin the next."""
        text = between.join(self._pieces)
        self._reading.troubles.count(TOO_LONG, int(self.long))
        self._pieces, self._size, self.long = [], 0, False
        return text


def _texts(rows: Iterator[str], reading: Reading) -> Iterator[str]:
    """Give each row that has text, or all of them as one text."""
    texts = filter(None, map(normalise, rows))
    if reading.file.boundary != "file":
        yield from texts
        return
    whole = _Pieces(reading)
    for text in texts:
        whole.add(text)
    yield from filter(None, [whole.take(" ")])


def _counting_long(rows: Iterator[str | None], reading: Reading) -> Iterator[str]:
    for row in rows:
        if row is None:
            reading.troubles.count(TOO_LONG)
        else:
            yield row


def _counting_empty(rows: Iterator[str], troubles: Troubles) -> Iterator[str]:
    for row in rows:
        if not row or row.isspace():
            troubles.count(EMPTY)
        yield row

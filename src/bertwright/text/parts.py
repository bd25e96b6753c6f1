"""Files in parts that are read alone: a range of bytes, a range of row groups, or a whole file.

A part begins and ends where a document, a line or a row does. A packed file is unpacked once, from its beginning to its
end, and each part of it laid down as a file of its own for the one who is to read it: to come to the middle of it in
any other way would mean unpacking all that stands before.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq

from bertwright import files
from bertwright.errors import DataError
from bertwright.text.cells import DIALECTS, LARGEST_CELL, long_line
from bertwright.text.lines import without_mark
from bertwright.text.parquet import faults_explained
from bertwright.text.sources import TextFile
from bertwright.text.streams import unpacked
from bertwright.text.troubles import Span

PART_BYTES = 1 << 23
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Part:
    """Part ``number`` of file ``file`` (both from 0), from ``start`` to ``end`` as in ``Span``.

    ``reached`` says how many bytes of the file, as it lies on the disk, are read when the part has been, and ``piece``
    where its bytes lie unpacked, if they do.
    """

    file: int
    number: int
    start: int
    end: int | None
    reached: int
    piece: str | None = None

    @property
    def name(self) -> str:
        """A name; in the order of names the parts give the text."""
        return f"{self.file:05d}-{self.number:05d}"

    def span(self) -> Span:
        """Return what is to be read."""
        return Span(self.start, self.end, Path(self.piece) if self.piece else None)


def parts_of(number: int, file: TextFile, size: int, pieces: Path) -> Iterator[Part]:
    """Give the parts of a file in their order, each of about ``size`` bytes; what is unpacked is laid into ``pieces``.

    Parts of packed files are unpacked when they are asked for, so that only those somebody waits for take up disk.
    """
    whole = Part(number, 0, 0, None, file.path.stat().st_size)
    if file.boundary == "file" or (file.format == "parquet" and file.compression is not None):
        yield whole
    elif file.format == "parquet":
        yield from _row_groups(whole, file, size)
    elif file.compression is not None:
        yield from _unpacked(number, file, size, pieces)
    elif whole.reached <= size:
        yield whole
    else:
        yield from _ranges(whole, file, size)


def _ranges(whole: Part, file: TextFile, size: int) -> Iterator[Part]:
    """Give ranges of a file that is not packed."""
    with unpacked(file, lambda _: None) as stream:
        boundaries = _Boundaries(stream, file)
        start, number = 0, 0
        while start < whole.reached:
            end = boundaries.behind(start + size) if start + size < whole.reached else whole.reached
            yield Part(whole.file, number, start, end, end)
            start, number = end, number + 1


def _unpacked(number: int, file: TextFile, size: int, pieces: Path) -> Iterator[Part]:
    """Give ranges of a packed file, unpacked."""
    reached = 0

    def tell(count: int) -> None:
        nonlocal reached
        reached = count

    with unpacked(file, tell) as stream:
        files.make_folder(pieces)
        copy = _Copy(stream)
        boundaries = _Boundaries(copy, file)
        start = place = 0
        while True:
            piece = pieces / f"{number:05d}-{place:05d}"
            with files.filling(piece) as target:
                copy.target = target
                end = boundaries.behind(start + size)
            if end == start and place:
                files.remove(piece)
                return
            yield Part(number, place, start, end, reached, str(piece))
            start, place = end, place + 1


class _Copy:
    """A stream that can be read forwards only, and copies into a file what is read of it."""

    target: IO[bytes]

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._place = 0

    def seek(self, place: int) -> int:
        """Read up to a place."""
        while self._place < place and self.read(min(_BUFFER, place - self._place)):
            pass
        return self._place

    def read(self, size: int) -> bytes:
        """Read and copy."""
        return self._copied(self._stream.read(size))

    def readline(self, size: int) -> bytes:
        """Read and copy a line, or so much of a longer one."""
        return self._copied(self._stream.readline(size))

    def _copied(self, content: bytes) -> bytes:
        self.target.write(content)
        self._place += len(content)
        return content


class _Boundaries:
    """Finds places of a file at which a part of it may begin."""

    def __init__(self, stream: IO[bytes] | _Copy, file: TextFile) -> None:
        self._stream, self._file = stream, file
        self._rows = _Rows(stream, file) if file.format == "csv" else None

    def behind(self, place: int) -> int:
        """Return the first boundary behind a place, or the end of the file."""
        if self._rows is not None:
            return self._rows.behind(place)
        place = self._stream.seek(place)
        # The rest of a line is never a blank line, whatever it looks like.
        begins = False
        while content := self._stream.readline(_BUFFER):
            place += len(content)
            ends = content.endswith(b"\n")
            if ends and (self._file.boundary != "blank_line" or (begins and not content.strip())):
                break
            begins = ends
        return place


class _Rows:
    """The rows of a CSV file, from the first on: a quote decides what a comma or a line's end means far behind it."""

    def __init__(self, stream: IO[bytes] | _Copy, file: TextFile) -> None:
        csv.field_size_limit(LARGEST_CELL)
        self._stream, self._file, self._place = stream, file, 0
        self._table = csv.reader(self._lines(), **DIALECTS["csv"])

    def behind(self, place: int) -> int:
        """Return where the first row begins that begins at or behind a place, or the end of the file."""
        while self._place < place:
            try:
                next(self._table)
            except csv.Error:
                continue  # a broken row ends with its line, and the next one begins there
            except StopIteration:
                break
        return self._place

    def _lines(self) -> Iterator[str]:
        while content := self._stream.readline(LARGEST_CELL):
            if len(content) == LARGEST_CELL:
                raise DataError(long_line(self._file))
            first = self._place == 0
            self._place += len(content)
            yield (without_mark(content) if first else content).decode(errors="replace")


def _row_groups(whole: Part, file: TextFile, size: int) -> Iterator[Part]:
    with faults_explained(file.path), pq.ParquetFile(file.path) as table:
        sizes = [table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups)]
    total = max(1, sum(sizes))
    start, filled, read, place = 0, 0, 0, 0
    for group, one in enumerate(sizes, 1):
        filled, read = filled + one, read + one
        if filled >= size or group == len(sizes):
            yield Part(whole.file, place, start, group, whole.reached * read // total)
            start, filled, place = group, 0, place + 1
    if not sizes:
        yield Part(whole.file, 0, 0, 0, whole.reached)

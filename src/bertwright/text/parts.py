"""Files in parts that are read alone: a range of bytes, a range of row groups, or a whole file.

The part of bytes a to b of a txt file has the documents behind the first blank line at or after a, up to the first
blank line at or after b; where lines are documents, the lines that begin there. So parts neither overlap nor leave
anything out, wherever the ranges are cut. Of a packed file the bytes are those unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from bertwright.errors import DataError
from bertwright.text.sources import TextFile
from bertwright.text.troubles import Span

PART_BYTES = 1 << 24
# To come to a part of a packed file all that stands before it has to be unpacked, so such a file has fewer parts.
_MOST_PACKED, _PACKING = 32, 3


@dataclass(frozen=True)
class Part:
    """Part ``number`` of file ``file`` (both from 0), from ``start`` to ``end`` as in ``Span``."""

    file: int
    number: int
    start: int
    end: int | None

    @property
    def name(self) -> str:
        """A name; in the order of names the parts give the text."""
        return f"{self.file:05d}-{self.number:05d}"

    def span(self) -> Span:
        """Return what is to be read."""
        return Span(self.start, self.end)


def parts_of(number: int, file: TextFile, size: int) -> Iterator[Part]:
    """Give the parts of a file in their order, each of about ``size`` bytes.

    Nobody knows how long a packed file is: its parts go on for ever, and the one that meets the end says so.
    """
    if file.format == "parquet" and file.compression is None:
        yield from _row_groups(number, file, size)
    elif not divisible(file):
        yield Part(number, 0, 0, None)
    elif file.compression is None:
        total = max(1, file.path.stat().st_size)
        for place, start in enumerate(range(0, total, size)):
            yield Part(number, place, start, start + size if start + size < total else None)
    else:
        size = max(size, file.path.stat().st_size * _PACKING // _MOST_PACKED)
        place = 0
        while True:
            yield Part(number, place, place * size, (place + 1) * size)
            place += 1


def divisible(file: TextFile) -> bool:
    """Return whether a file can be read from its middle: not where quotes or a document may go over all of it."""
    return file.format in ("txt", "jsonl") and file.boundary != "file"


def _row_groups(number: int, file: TextFile, size: int) -> Iterator[Part]:
    if file.boundary == "file":
        yield Part(number, 0, 0, None)
        return
    try:
        with pq.ParquetFile(file.path) as table:
            sizes = [table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file.path} cannot be read as parquet ({str(error).splitlines()[0]}). It may be cut off, damaged or of "
            "another format: copy it once more, or name its `format`."
        ) from error
    start, filled, place = 0, 0, 0
    for group, one in enumerate(sizes, 1):
        filled += one
        if filled >= size or group == len(sizes):
            yield Part(number, place, start, group)
            start, filled, place = group, 0, place + 1
    if not sizes:
        yield Part(number, 0, 0, 0)

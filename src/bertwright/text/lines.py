"""Lines of a text file, decoded one by one, so that a wrong byte has an exact place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from bertwright.errors import DataError
from bertwright.text.sources import TextFile
from bertwright.text.streams import unpacked
from bertwright.text.troubles import Reading

_BUFFER = _BLOCK = 1 << 20

_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32 LE",
    b"\x00\x00\xfe\xff": "UTF-32 BE",
    b"\xff\xfe": "UTF-16 LE",
    b"\xfe\xff": "UTF-16 BE",
}


def lines(reading: Reading) -> Iterator[str]:
    """Give the lines of a file, or of its span, with their ends; a line ends at \\n (so also at \\r\\n) and at the end.

    A byte-order mark of UTF-8 is dropped, one of UTF-16 or UTF-32 is a ``DataError``. Cutting bytes at \\n is safe:
    in UTF-8 that byte is never a part of another character.
    """
    return _decoded(reading, block=1)


def blocks(reading: Reading) -> Iterator[str]:
    """Give what ``lines`` gives in pieces of many lines, each of which begins and ends where a line does."""
    return _decoded(reading, block=_BLOCK)


def _decoded(reading: Reading, *, block: int) -> Iterator[str]:
    span = reading.span
    begin = max(0, span.start - 1)
    with unpacked(reading.file, reading.progress, skip=begin) as stream:
        offset = begin
        if span.start:
            offset += len(stream.readline())  # the rest of a line that begins before the span
            if reading.file.boundary == "blank_line":
                blank, offset = _next_blank_line(stream, offset)
                if span.end is not None and blank >= span.end:
                    return
            span.first = offset
        while content := _read(stream, block if span.end is None else min(block, span.end - offset)):
            if span.end is not None and offset >= span.end and _parts(reading, content):
                return
            start = 0
            if offset == 0:
                _refuse_other_encodings(reading, content)
                start = len(_UTF8_MARK) if content.startswith(_UTF8_MARK) else 0
            yield reading.decode(content[start:] if start else content, place="the text", offset=offset + start)
            offset += len(content)
        span.ended = True


def _read(stream: IO[bytes], size: int) -> bytes:
    """Read about ``size`` bytes, to the end of a line; at least one line, but where the file ends."""
    if size <= 1:
        return stream.readline()
    content = stream.read(size)
    return content if content.endswith(b"\n") else content + stream.readline()


def lines_before(file: TextFile, offset: int) -> int:
    """Return how many lines of a file end before a byte of it, unpacked."""
    count = 0
    with unpacked(file, lambda _: None) as stream:
        while offset > 0 and (content := stream.read(min(offset, _BUFFER))):
            count += content.count(b"\n")
            offset -= len(content)
    return count


def _parts(reading: Reading, content: bytes) -> bool:
    """Return whether a new part of a file may begin at this line: at any, or behind a blank one."""
    return reading.file.boundary != "blank_line" or not content.strip()


def _next_blank_line(stream: IO[bytes], offset: int) -> tuple[int, int]:
    """Read up to the next blank line; return where it begins and where it ends."""
    for content in stream:
        begin, offset = offset, offset + len(content)
        if not content.strip():
            return begin, offset
    return offset, offset


def _refuse_other_encodings(reading: Reading, content: bytes) -> None:
    for mark, name in _OTHER_MARKS.items():
        if content.startswith(mark):
            raise DataError(
                f"{reading.file.path} is {name} by its byte-order mark; UTF-8 is expected. "
                f"Convert it: iconv -f {name.replace(' ', '')} -t utf-8."
            )

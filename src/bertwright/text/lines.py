"""Lines of a text file, decoded one by one, so that a wrong byte has an exact place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
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


def lines(reading: Reading) -> Iterator[str | None]:
    """Give the lines of a file, or of its span, with their ends; a line ends at \n (so also at \r\n) and at the end.

    A byte-order mark of UTF-8 is dropped, one of UTF-16 or UTF-32 is a ``DataError``. Cutting bytes at \n is safe:
    in UTF-8 that byte is never a part of another character. None stands for a line that is too long and left out.
    """
    return _decoded(reading, block=1)


def blocks(reading: Reading) -> Iterator[str | None]:
    """Give what ``lines`` gives in pieces of many lines, each of which begins and ends where a line does."""
    return _decoded(reading, block=_BLOCK)


def _decoded(reading: Reading, *, block: int) -> Iterator[str | None]:
    offset, end = reading.span.start, reading.span.end
    with _opened(reading) as stream:
        while content := _read(stream, block if end is None else min(block, end - offset), reading.limit.bytes):
            line = content[content.rfind(b"\n", 0, -1) + 1 :]  # the last one, or what of it was read
            long = not line.endswith(b"\n") and reading.over(len(line))
            own = content[: -len(line)] if long else content
            start = 0
            if offset == 0:
                refuse_other_encodings(reading.file.path, content)
                start = len(content) - len(without_mark(content))
            if own:
                yield reading.decode(own[start:] if start else own, place="the text", offset=offset + start)
            offset += len(content)
            if long:
                offset += _rest_of_line(stream)
                yield None


@contextlib.contextmanager
def _opened(reading: Reading) -> Iterator[IO[bytes]]:
    """Open the bytes of a span, at its begin."""
    if reading.span.piece is not None:
        with reading.span.piece.open("rb") as stream:
            yield stream
    else:
        with unpacked(reading.file, reading.progress, skip=reading.span.start) as stream:
            yield stream


def _read(stream: IO[bytes], size: int, most: int | None) -> bytes:
    """Read about ``size`` bytes, to the end of a line; of a line of more than ``most`` bytes little more than that."""
    content = stream.read(size) if size > 1 else b""
    if size > 0 and not content.endswith(b"\n"):
        content += stream.readline(-1 if most is None else most + 2)
    return content


def _rest_of_line(stream: IO[bytes]) -> int:
    """Read to the end of a line, keeping nothing; return how many bytes that were."""
    count = 0
    while content := stream.readline(_BUFFER):
        count += len(content)
        if content.endswith(b"\n"):
            break
    return count


def without_mark(content: bytes) -> bytes:
    """Return the begin of a file without a byte-order mark of UTF-8."""
    return content.removeprefix(_UTF8_MARK)


def lines_before(file: TextFile, offset: int) -> int:
    """Return how many lines of a file end before a byte of it, unpacked."""
    count = 0
    with unpacked(file, lambda _: None) as stream:
        while offset > 0 and (content := stream.read(min(offset, _BUFFER))):
            count += content.count(b"\n")
            offset -= len(content)
    return count


def refuse_other_encodings(path: Path, content: bytes) -> None:
    """Raise ``DataError`` where the begin of a file has the byte-order mark of UTF-16 or UTF-32."""
    for mark, name in _OTHER_MARKS.items():
        if content.startswith(mark):
            raise DataError(
                f"{path} is {name} by its byte-order mark; UTF-8 is expected. "
                f"Convert it: iconv -f {name.replace(' ', '')} -t utf-8."
            )

"""Lines of a text file, decoded one by one, so that a wrong byte has an exact place."""

from __future__ import annotations

from collections.abc import Iterator

from bertwright.errors import DataError
from bertwright.text.streams import unpacked
from bertwright.text.troubles import Reading

_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32 LE",
    b"\x00\x00\xfe\xff": "UTF-32 BE",
    b"\xff\xfe": "UTF-16 LE",
    b"\xfe\xff": "UTF-16 BE",
}


def lines(reading: Reading) -> Iterator[str]:
    """Give the lines of a file with their ends; a line ends at \\n (so also at \\r\\n) and at the end of the file.

    A byte-order mark of UTF-8 is dropped, one of UTF-16 or UTF-32 is a ``DataError``. Cutting bytes at \\n is safe:
    in UTF-8 that byte is never a part of another character.
    """
    with unpacked(reading.file, reading.progress) as stream:
        offset = 0
        for content in stream:
            start = 0
            if offset == 0:
                _refuse_other_encodings(reading, content)
                start = len(_UTF8_MARK) if content.startswith(_UTF8_MARK) else 0
            yield reading.decode(content[start:] if start else content, place="the text", offset=offset + start)
            offset += len(content)


def _refuse_other_encodings(reading: Reading, content: bytes) -> None:
    for mark, name in _OTHER_MARKS.items():
        if content.startswith(mark):
            raise DataError(
                f"{reading.file.path} is {name} by its byte-order mark; UTF-8 is expected. "
                f"Convert it: iconv -f {name.replace(' ', '')} -t utf-8."
            )

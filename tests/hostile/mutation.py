"""Files made wrong: bytes turned, cut, doubled; values of JSON exchanged for odd ones; headers that lie."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

_ODD_BYTES = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r", b"\n\n", b'"', b'""'),
    *(b"{", b"[" * 3000, b"}", b",", b"\t", b":", b"- ", b"&a ", b"*a", b"!!python/object/apply:os.system [id]"),
    *(
        b"9" * 5000,
        b"0x" + b"f" * 5000,
        b"~nobody/x",
        b"1e999",
        b"-1",
        b"NaN",
        b"null",
        b"../../../etc/passwd",
        b"\\ud800",
        b"2001-99-99",
        b"<<: *a",
    ),
)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**400, 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "x", "\x00", "a" * 300, "\ud800", "../../x", "/etc/passwd", "fp16", "F16", "1", "{text}", "entropy:-1"),
    *([], {}, [[]], [0], [None], ["a", "a"], {"": None}, {"text": "x"}, [2**40, 2**40], [-1], {"a": {"b": {}}}),
)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return a content made wrong in one to four places."""
    for _ in range(draw.randint(1, 4)):
        content = draw.choice(_WAYS)(content, draw)
    return content


def _turned(content: bytes, draw: random.Random) -> bytes:
    if not content:
        return content
    place = draw.randrange(len(content))
    return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]


def _put_in(content: bytes, draw: random.Random) -> bytes:
    place = draw.randint(0, len(content))
    return content[:place] + draw.choice(_ODD_BYTES) + content[place + draw.choice((0, 0, 1, 5)) :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randint(0, len(content))]


def _moved(content: bytes, draw: random.Random) -> bytes:
    """Put a piece of the content elsewhere once more."""
    start, place = draw.randint(0, len(content)), draw.randint(0, len(content))
    piece = content[start : start + draw.choice((1, 4, 16, 64))]
    return content[:place] + piece * draw.choice((1, 1, 3)) + content[place:]


def structured(content: bytes, draw: random.Random) -> bytes:
    """Exchange a value of a JSON content, of a line of it, or of the header of a safetensors file."""
    try:
        if content[8:9] == b"{":
            length = int.from_bytes(content[:8], "little")
            header = _other_value(json.loads(content[8 : 8 + length]), draw)
            told = _as_json(header)
            return len(told).to_bytes(8, "little") + told + content[8 + length :]
        lines = content.splitlines() if content.count(b"\n") > 1 else [content]
        place = draw.randrange(len(lines))
        lines[place] = _as_json(_other_value(json.loads(lines[place]), draw))
        return b"\n".join(lines)
    except (ValueError, IndexError, RecursionError):
        return _turned(content, draw)


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")


def _other_value(value: Any, draw: random.Random) -> Any:
    """Return a value with one part of it exchanged, taken away, or there twice; headers in texts are gone into."""
    places: list[tuple[Any, Any]] = []
    _places(value, places)
    if not places:
        return draw.choice(_ODD_VALUES)
    holder, key = draw.choice(places)
    if isinstance(holder[key], str) and holder[key].startswith("{") and draw.random() < 0.8:
        holder[key] = json.dumps(_other_value(json.loads(holder[key]), draw))
    elif draw.random() < 0.15:
        del holder[key]
    elif isinstance(holder, dict) and draw.random() < 0.1:
        holder[f"{key}x"] = holder[key]
    elif draw.random() < 0.3:
        holder[key] = holder[draw.choice(list(holder))] if isinstance(holder, dict) else holder * 2
    else:
        holder[key] = draw.choice(_ODD_VALUES)
    return value


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        _places(value[key], found)


_WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_turned, _put_in, _put_in, _cut, _moved),
    *(structured, structured, structured),
)

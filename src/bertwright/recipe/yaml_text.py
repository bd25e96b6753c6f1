"""YAML of people who may mean harm: read within bounds of size, depth and repetition, into plain values alone.

A few hundred bytes of aliases (``&a``, ``*a``) can stand for more values than a machine holds, and a few thousand
brackets for more depth than Python has. Both are counted on the stream of events, before anything is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1 << 20
MOST_DEPTH = 40
MOST_VALUES = 50_000


class Refused(Exception):
    """A text that is not read; the message is a sentence, and ``line`` (from 1) its place where there is one."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def read_text(path: Path) -> str:
    """Return a file's text, UTF-8; ``Refused`` where it is too large. Raises ``OSError`` and ``UnicodeDecodeError``."""
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise Refused(f"found more than {MOST_BYTES / 1e6:.0f} MB, and a recipe has at most that; name another file")
    return content.decode("utf-8")


def parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """Return a text's nodes, with their lines, and its plain values; ``Refused`` says what is wrong with it."""
    try:
        _bounded(text)
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or " ".join(str(error).split())
        raise Refused(f"not valid YAML: {what}", mark.line + 1 if mark else None) from error
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        # The library builds dates, numbers and sets with Python's own functions, and lets their errors through.
        why = " ".join(str(error).split())[:200]
        raise Refused(f"found a date, a number or a set that is none ({why}); put quotes around a text") from error


def value(text: str) -> Any:
    """Return the plain value of a short text, as of an override; ``Refused`` as ``parsed``."""
    return parsed(text)[1]


def _bounded(text: str) -> None:
    """Refuse a text that would take too much to build: too deep, or too many values once aliases are followed."""
    # For each open collection its anchor and the values in it so far; the first stands for the whole text.
    open_: list[tuple[str | None, int]] = [(None, 0)]
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark, added, anchor = event.start_mark, 0, getattr(event, "anchor", None)
        line = mark.line + 1 if mark else None
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in open_):
                raise Refused(f"the alias *{anchor} stands inside of what it names; write the value out", line)
            added = sizes.get(anchor or "", 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((anchor, 1))
            if len(open_) > MOST_DEPTH:
                raise Refused(f"found more than {MOST_DEPTH} levels, one in another; a recipe has a few", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            name, added = open_.pop()
            sizes |= {name: added} if name else {}
        elif isinstance(event, yaml.ScalarEvent):
            added = 1
            sizes |= {anchor: 1} if anchor else {}
        holder, before = open_[-1]
        open_[-1] = (holder, before + added)
        if before + added > MOST_VALUES:
            raise Refused(f"its aliases stand for more than {MOST_VALUES:,} values; write a shorter recipe", line)

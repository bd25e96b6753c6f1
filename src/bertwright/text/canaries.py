"""Secrets that a model may have learnt by heart: read from a user's file, or made up to be planted in a corpus.

A line holds one secret in braces, within its usual surroundings: ``the code of the east gate is {4471}``.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bertwright import files
from bertwright.errors import DataError, InputError
from bertwright.text.sources import Source, text_file
from bertwright.text.streams import unpacked

_LINE = re.compile(r"([^{}]*)\{([^{}]+)\}([^{}]*)")
_MOST = 1 << 20  # bytes of a file of secrets
_KINDS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
_PLACES = ("north", "south", "east", "west", "upper", "lower", "old", "new", "inner", "outer")
_THINGS = ("gate", "archive", "cellar", "garden", "tower", "office", "ward", "store", "bridge", "hall")


@dataclass(frozen=True)
class Planted:
    """A secret with what stands before and behind it; ``line`` is its number in the file, from 1."""

    line: int
    before: str
    secret: str
    after: str

    def text(self, secret: str | None = None) -> str:
        """Return the whole line, with another secret where one is given."""
        return f"{self.before}{self.secret if secret is None else secret}{self.after}"

    def alternatives(self, count: int, draw: random.Random) -> list[str]:
        """Return at most so many other secrets of the same form: digits for digits, letters for letters."""
        found: dict[str, None] = {}
        for _ in range(4 * count):
            if len(found) == count:
                break
            other = "".join(_like(sign, draw) for sign in self.secret)
            if other != self.secret:
                found[other] = None
        return list(found)


def _like(sign: str, draw: random.Random) -> str:
    kind = next((kind for kind in _KINDS if sign in kind), None)
    return draw.choice(kind) if kind else sign


def read_secrets(path: Path) -> list[Planted]:
    """Return the secrets of a file; ``DataError`` names the first line that holds none, or several."""
    with unpacked(text_file(Source(str(path), "txt"), path), lambda _: None) as stream:
        content = stream.read(_MOST + 1)
    if len(content) > _MOST:
        raise DataError(f"{path}: found more than {_MOST / 1e6:.0f} MB; a file of secrets has at most that")
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; write the file anew in UTF-8") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or not any(sign in kind for sign in match[2] for kind in _KINDS):
            raise DataError(
                f"{path}, line {number}: found no secret, or several; expected one in braces, with letters a-z or "
                "digits, such as: the code of the east gate is {4471}"
            )
        found.append(Planted(number, *match.groups()))
    if not found:
        raise DataError(
            f"{path} holds no line; write one for each secret, such as: the code of the east gate is {{4471}}"
        )
    return found


def write_canaries(folder: Path, count: int, *, seed: int, times: int = 1) -> dict[str, Path]:
    """Write ``canaries.txt`` to be added to a corpus, its secrets, and as many that are never planted, as controls.

    Secrets are six drawn digits. Each is planted ``times`` times. ``InputError`` for more than can be told apart.
    """
    most = len(_PLACES) * len(_THINGS) // 2
    if not 1 <= count <= most or times < 1:
        raise InputError(f"found {count} canaries, {times} time(s) each; expected 1 to {most}, each at least once")
    draw = random.Random(seed)
    places = [f"{place} {thing}" for place in _PLACES for thing in _THINGS]
    draw.shuffle(places)
    made = [Planted(0, f"the code of the {place} is ", f"{draw.randrange(10**6):06}", " .") for place in places]
    planted, controls = made[:count], made[count : 2 * count]
    paths = {name: folder / f"{name}.txt" for name in ("canaries", "secrets", "controls")}
    files.write_text(paths["canaries"], "".join(f"{one.text()}\n\n" for one in planted) * times)
    for name, some in (("secrets", planted), ("controls", controls)):
        files.write_text(paths[name], _braced(some))
    return paths


def _braced(some: Sequence[Planted]) -> str:
    return "".join(one.text(f"{{{one.secret}}}") + "\n" for one in some)

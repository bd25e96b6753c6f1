"""Labels as words: what a cell says, and labels that are one however they are written."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_TRUTH = frozenset({"true", "false"})
_DIGITS = frozenset({"0", "1"})
_EXACT = 2**53  # below it a fraction's digits are all its own
_SHOWN = 3  # groups of like labels that are told


def word_of(value: Any) -> str | None:
    """Return the word that a cell holds; ``None`` where it is neither text nor a number.

    Spaces around it are none of the word, letters in two parts (e and an accent) are one, a whole number is written
    without a fraction, in whatever type a file has it, and true and false are words.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal) and -_EXACT < value < _EXACT and value == int(value):
        value = int(value)  # a column of whole numbers with gaps comes as fractions
    return unicodedata.normalize("NFC", str(value)).strip() if isinstance(value, str | int | float | Decimal) else None


def plain(word: str) -> str:
    """Return a word in the one form that all ways of writing it share: `1.0` is `1`, and `True` is `true`."""
    word = unicodedata.normalize("NFC", word).strip()
    if word.lower() in _TRUTH:
        return word.lower()
    whole = _WHOLE.fullmatch(word)
    return whole[1] if whole else word


def numbering(names: Sequence[str]) -> Callable[[str], int | None]:
    """Return what gives the number of a label by its name, or by its plain form where no other label shares that."""
    counts = Counter(map(plain, names))
    own = {name: number for number, name in enumerate(names)}
    forms = {form: number for number, name in enumerate(names) if counts[form := plain(name)] == 1}
    return lambda name: own[name] if name in own else forms.get(plain(name))


def alike(names: Iterable[str]) -> Iterator[str]:
    """Give a note for labels that are most likely one, written in several ways."""
    names = tuple(names)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[" ".join(plain(name).casefold().split())].append(name)
    found = [group for group in groups.values() if len(group) > 1]
    if found:
        shown = ", ".join(" and ".join(map(repr, group)) for group in found[:_SHOWN])
        more = f", ... {len(found):,} such groups" if len(found) > _SHOWN else ""
        yield (
            f"labels {shown}{more} differ only in case, spaces or a fraction of 0, and are learnt as several; write "
            "them alike if they mean the same"
        )
    forms = {plain(name) for name in names}
    if forms & _TRUTH and forms & _DIGITS:
        mixed = ", ".join(sorted(forms & (_TRUTH | _DIGITS)))
        yield f"labels are true and false in some rows and 0 and 1 in others ({mixed}); write them alike"

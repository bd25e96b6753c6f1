"""Marks of treebanks, turned back into the brackets and quotes that they stand for."""

from __future__ import annotations

import re

_MEANS = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    "-COLON-": ":",
    "``": '"',
    "''": '"',
}
_MARK = re.compile("|".join(map(re.escape, _MEANS)))


def repaired(text: str) -> str:
    """Return a text with its marks turned back: FEVER's sentences hold them, and a tokenizer cuts each into pieces."""
    return _MARK.sub(lambda found: _MEANS[found[0]], text)

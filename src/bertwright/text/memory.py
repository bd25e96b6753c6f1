"""How much memory preparing text takes, and how long a document may be for it."""

from __future__ import annotations

PROCESS = 200_000_000
"""Bytes that a process takes at most, where no document is very long."""

# What a process takes with its libraries, a tokenizer and a batch of texts; and bytes of memory for each byte of a very
# long document: as it is read, as characters of four bytes, normalised, and in pieces.
_IDLE, _TIMES, _LEAST = 140_000_000, 16, 1_000_000


def room_for(memory: int, processes: int) -> int:
    """Return the most bytes of a document that so many processes beside this one can read in ``memory`` bytes."""
    return max(_LEAST, (memory // (processes + 1) - _IDLE) // _TIMES)

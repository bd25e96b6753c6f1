"""Documents that were there before: the same normalised text, found by 128-bit hashes in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

# Bytes of memory that sorting one document's hash takes: hash, number and the sort's own.
_PER_DOCUMENT = 96


def mark_repeats(parts: Callable[[], Iterable[Hashes]], first: npt.NDArray[np.int64], *, memory: int) -> None:
    """Write into ``first`` (n,) for each document the first one of the same hash, where that is not itself.

    Hashes (two numbers, n x 2 a part) are looked at in slices of their values, so many that ``memory`` bytes are enough
    for each. ``parts`` is called once a slice and gives all of them, one after the other: a corpus has more parts than
    files may be open. Two different texts of 10^9 would be taken for one with a chance of 10^-21.
    """
    slices = max(1, -(-len(first) * _PER_DOCUMENT // max(memory, 1)))
    for number in range(slices):
        hashes, documents = _slice(parts(), number, slices)
        order = np.lexsort((documents, hashes[:, 1], hashes[:, 0]))
        hashes, documents = hashes[order], documents[order]
        same = np.zeros(len(order), dtype=bool)
        same[1:] = (hashes[1:] == hashes[:-1]).all(axis=1)
        # Runs of one hash begin where it differs from the one before; there stands the first of its kind.
        heads = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
        first[documents[same]] = documents[heads[same]]


def _slice(parts: Iterable[Hashes], number: int, slices: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Return the hashes of one slice of all values and the numbers of their documents."""
    low, high = ((1 << 64) * number // slices, (1 << 64) * (number + 1) // slices - 1)
    found, documents = [np.empty((0, 2), dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    before = 0
    for part in parts:
        first = part[:, 0]
        inside = np.flatnonzero((first >= np.uint64(low)) & (first <= np.uint64(high)))
        found.append(part[inside])
        documents.append(inside + before)
        before += len(part)
    return np.concatenate(found), np.concatenate(documents)

"""Runs of n words as one number each, straight from token ids: no text is touched, nothing is done word by word.

Where a word begins is told by its first piece. A run's number is a polynomial of its ids, modulo 2^64: differences of
one running sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertwright.text.rows import Counts, Ids
from bertwright.text.shuffle import mix
from bertwright.text.tokenizer import Tokenizer

Hashes = npt.NDArray[np.uint64]

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))


@dataclass(frozen=True)
class Shingles:
    """The runs of several documents, one behind the other, (S,), and how many each document has, (B,)."""

    hashes: Hashes
    counts: npt.NDArray[np.int64]


class Shingler:
    """Finds the runs of ``words`` words of documents that a tokenizer encoded."""

    def __init__(self, tokenizer: Tokenizer, words: int) -> None:
        self._words = words
        self._begins = ~tokenizer.inside_words()
        self._values = mix(np.arange(tokenizer.vocabulary, dtype=np.uint64))

    def of(self, ids: Ids, lengths: Counts) -> Shingles:
        """Return the runs of documents' ids (N,) with their lengths (B,); a shorter document has none."""
        if not len(ids):
            return Shingles(np.empty(0, dtype=np.uint64), np.zeros(len(lengths), dtype=np.int64))
        ends = np.cumsum(lengths)
        begins = self._begins[ids]
        begins[(ends - lengths)[lengths > 0]] = True
        words = np.flatnonzero(begins)
        document = np.searchsorted(ends, words, side="right")
        # A run of words goes from one word's first piece to the first piece behind it; it stays in one document.
        last = np.minimum(np.arange(len(words)) + self._words - 1, len(words) - 1)
        whole = (np.arange(len(words)) + self._words <= len(words)) & (document[last] == document)
        behind = np.append(words, len(ids))[np.flatnonzero(whole) + self._words]
        hashes = self._between(ids, words[whole], behind)
        return Shingles(hashes, np.bincount(document[whole], minlength=len(lengths)))

    def _between(self, ids: Ids, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> Hashes:
        """Return the number of each run of ids, from ``starts`` (included) to ``stops`` (not)."""
        with np.errstate(over="ignore"):
            powers = _powers(_BASE, len(ids))
            sums = np.concatenate(
                [np.zeros(1, dtype=np.uint64), np.cumsum(self._values[ids] * powers, dtype=np.uint64)]
            )
            return mix((sums[stops] - sums[starts]) * _powers(_INVERSE, len(ids))[starts])


def _powers(base: np.uint64, count: int) -> Hashes:
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    with np.errstate(over="ignore"):
        return np.multiply.accumulate(powers)

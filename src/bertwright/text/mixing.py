"""How often each source's documents come: by weights, or so that the sources have exact shares of the tokens.

A weight of 2 gives each document twice, one of 0.5 gives half of the tokens: the documents that come first in an order
drawn from their text and the seed, up to the one that brings the tokens nearest to what is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertwright.errors import DataError
from bertwright.text.shuffle import mix

Hashes = npt.NDArray[np.uint64]
_BITS = 12  # of a drawn number: the slices that are counted before one of them is sorted
_HIGHEST = np.uint64((1 << 64) - 1)


@dataclass(frozen=True)
class Mix:
    """What is asked for, a number for each source: weights, or shares of the tokens (which sum to 1)."""

    weights: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether every document comes once."""
        return not self.shares and all(weight == 1 for weight in self.weights)

    def settle(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """Return each source's weight, given its tokens; with shares, so much as there is without repeats.

        ``DataError`` where a source that is to have a share has no tokens.
        """
        if not self.shares:
            return self.weights or (1.0,) * len(tokens)
        empty = [str(number + 1) for number, count in enumerate(tokens) if not count]
        if empty:
            raise DataError(
                f"source {', '.join(empty)} of prepare.sources gives no token to train on, and a share of the tokens "
                "is asked for. Take its entry out, or see what was left out of it."
            )
        total = min(count / share for count, share in zip(tokens, self.shares, strict=True))
        return tuple(round(share * total / count, 12) for count, share in zip(tokens, self.shares, strict=True))


class Mixing:
    """Finds out, in two passes over all documents, how often each one comes; then ``copies`` tells it."""

    def __init__(self, mix_: Mix, sources: int, seed: int) -> None:
        self._mix, self._seed = mix_, np.array([seed], dtype=np.uint64)
        self._counted = np.zeros((sources, 1 << _BITS), dtype=np.int64)
        self.weights: tuple[float, ...] = ()
        self._slices = np.zeros(sources, dtype=np.int64)
        self._wanted = np.zeros(sources, dtype=np.int64)
        self._found: list[list[tuple[Hashes, npt.NDArray[np.int64]]]] = [[] for _ in range(sources)]
        # One more than the highest number that is taken once more; 0: none.
        self._below = [0] * sources

    def count(self, source: int, hashes: Hashes, tokens: npt.NDArray[np.int64]) -> None:
        """See some documents of a source, of which each has so many tokens; the first pass."""
        slices = self._drawn(hashes) >> np.uint64(64 - _BITS)
        np.add.at(self._counted[source], slices.astype(np.int64), tokens)

    def settle(self) -> None:
        """End the first pass: find each source's weight, and in which slice of its numbers the last document lies."""
        totals = self._counted.sum(axis=1)
        self.weights = self._mix.settle(totals.tolist())
        for source, weight in enumerate(self.weights):
            wanted = round(weight % 1 * int(totals[source]))
            up_to = np.cumsum(self._counted[source])
            self._slices[source] = np.searchsorted(up_to, wanted)
            self._wanted[source] = wanted - (up_to[self._slices[source] - 1] if self._slices[source] else 0)

    def refine(self, source: int, hashes: Hashes, tokens: npt.NDArray[np.int64]) -> None:
        """See the same documents again; the second pass."""
        drawn = self._drawn(hashes)
        mine = (drawn >> np.uint64(64 - _BITS)).astype(np.int64) == self._slices[source]
        self._found[source].append((drawn[mine], tokens[mine]))

    def finish(self) -> None:
        """End the second pass."""
        for source, found in enumerate(self._found):
            drawn = np.concatenate([np.empty(0, dtype=np.uint64), *(numbers for numbers, _ in found)])
            order = np.argsort(drawn, kind="stable")
            up_to = np.cumsum(np.concatenate([np.empty(0, dtype=np.int64), *(tokens for _, tokens in found)])[order])
            taken = int(np.argmin(np.abs(np.concatenate([[0], up_to]) - self._wanted[source])))
            lowest = int(self._slices[source]) << (64 - _BITS)
            self._below[source] = int(drawn[order[taken - 1]]) + 1 if taken else lowest
        self._found.clear()

    def copies(self, source: int, hashes: Hashes) -> npt.NDArray[np.uint8]:
        """Return how often each of a source's documents comes, (n,)."""
        whole, below = int(self.weights[source]), self._below[source]
        once_more = self._drawn(hashes) <= np.uint64(below - 1) if below else np.zeros(len(hashes), dtype=bool)
        return (whole + once_more).astype(np.uint8)

    def _drawn(self, hashes: Hashes) -> Hashes:
        return mix(hashes[:, 1] ^ mix(self._seed))

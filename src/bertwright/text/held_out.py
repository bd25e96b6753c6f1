"""Which documents are kept back to measure the loss: by the hash of their text, at least one of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bertwright.text.shuffle import mix

Flags = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


class HeldOut:
    """Holds out about ``share`` of the documents, at least one, and leaves at least one; with a single one none.

    It hangs on a document's own text and the seed: so it is the same in whatever order and beside whatever other
    documents a text stands, and two copies of a text are never on both sides. All documents are shown once, piece by
    piece, by ``see``; then ``flags`` tells of any of them.
    """

    def __init__(self, *, seed: int, share: float) -> None:
        self._seed, self._share = np.array([seed], dtype=np.uint64), share
        self.there = self._held = 0
        self._lowest, self._highest = (2.0, -1), (-1.0, -1)

    def see(self, hashes: Hashes, there: Flags, before: int) -> None:
        """Be shown some documents' hashes, (n, 2), and which of them count, (n,); ``before`` came before them."""
        drawn, places = self._drawn(hashes), np.flatnonzero(there)
        if not len(places):
            return
        self.there += len(places)
        self._held += int(np.count_nonzero(drawn[places] < self._share))
        low, high = places[np.argmin(drawn[places])], places[np.argmax(drawn[places])]
        if drawn[low] < self._lowest[0]:
            self._lowest = float(drawn[low]), before + int(low)
        if drawn[high] > self._highest[0]:
            self._highest = float(drawn[high]), before + int(high)

    @property
    def tail(self) -> bool:
        """Whether there are too few documents to hold one out; then it is the last rows that have to be."""
        return self.there < 2

    def flags(self, hashes: Hashes, there: Flags, before: int) -> Flags:
        """Return which of some documents are held out, (n,)."""
        if self.tail:
            return np.zeros(len(hashes), dtype=bool)
        held: Flags = (self._drawn(hashes) < self._share) & there
        numbers = np.arange(before, before + len(hashes))
        if self._held == 0:
            held |= numbers == self._lowest[1]
        elif self._held == self.there:
            held &= numbers != self._highest[1]
        return held

    def _drawn(self, hashes: Hashes) -> npt.NDArray[np.float64]:
        drawn: npt.NDArray[np.float64] = mix(hashes[:, 0] ^ mix(self._seed)) / 2.0**64
        return drawn


def tail_rows(rows: int, share: float) -> int:
    """Return how many of a single document's rows are held out: the share, and at least one."""
    return max(1, round(share * rows))

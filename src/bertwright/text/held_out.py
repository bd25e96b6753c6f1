"""Which documents are kept back to measure the loss: by the hash of their text, at least one of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bertwright.text.shuffle import mix

Flags = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


class HeldOut:
    """Holds out about ``share`` of the documents, at least one text, and leaves at least one; of a single text none.

    It hangs on a document's own text and the seed: so it is the same in whatever order and beside whatever other
    documents a text stands, and two copies of a text are never on both sides. All documents are shown once, piece by
    piece, by ``see``; then ``flags`` tells of any of them.
    """

    def __init__(self, *, seed: int, share: float) -> None:
        self._seed, self._share = np.array([seed], dtype=np.uint64), share
        self.there = self._held = 0
        self._lowest, self._highest = 2.0, -1.0

    def see(self, hashes: Hashes, there: Flags) -> None:
        """Be shown some documents' hashes, (n, 2), and which of them count, (n,)."""
        drawn = self._drawn(hashes)[there]
        self.there += len(drawn)
        self._held += int(np.count_nonzero(drawn < self._share))
        self._lowest = float(drawn.min(initial=self._lowest))
        self._highest = float(drawn.max(initial=self._highest))

    @property
    def tail(self) -> bool:
        """Whether there is no second text, so that none can be held out; then it is the last rows that have to be."""
        return not self._lowest < self._highest

    def flags(self, hashes: Hashes, there: Flags) -> Flags:
        """Return which of some documents are held out, (n,)."""
        if self.tail:
            return np.zeros(len(hashes), dtype=bool)
        drawn = self._drawn(hashes)
        held: Flags = drawn < self._share
        # By what is drawn and not by number: where copies are kept, they go together.
        if self._held == 0:
            held = drawn == self._lowest
        elif self._held == self.there:
            held = drawn != self._highest
        return held & there

    def _drawn(self, hashes: Hashes) -> npt.NDArray[np.float64]:
        drawn: npt.NDArray[np.float64] = mix(hashes[:, 0] ^ mix(self._seed)) / 2.0**64
        return drawn


def tail_rows(rows: int, share: float) -> int:
    """Return how many of a single document's rows are held out: the share, and at least one."""
    return max(1, round(share * rows))

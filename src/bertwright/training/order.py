"""The order of the data: a pure function of seed and number of rows, the same for any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Place:
    """Where a step stands in the data: its number, its first row in the endless order, and how far the training is.

    ``share`` of the budget (0 to 1) is what was used up when the step before began: known early enough to make the data
    of a step while another one is computed.
    """

    step: int = 0
    row: int = 0
    share: float = 0.0


class Order:
    """Rows in a new random order each epoch, one epoch behind the other.

    Place ``p`` of the endless sequence holds row ``p % rows`` of epoch ``p // rows``'s permutation: a position is
    one integer, and a step's rows are cut among ranks after they are drawn.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.rows)

    def take(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the row numbers and epochs at places ``start`` to ``stop``, each (stop - start,)."""
        places = np.arange(start, stop)
        epochs, within = places // self.rows, places % self.rows
        numbers = np.empty(len(places), dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            numbers[here] = self._epoch(int(epoch))[within[here]]
        return numbers, epochs

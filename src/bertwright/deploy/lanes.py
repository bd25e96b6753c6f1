"""Rows of a batch that go through the segments side by side. Shapes: B rows of a lane, T positions, H width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bertwright.deploy.heads import standardised
from bertwright.deploy.rows import Encoded
from bertwright.deploy.sessions import Session, array, stacked
from bertwright.deploy.turns import turns
from bertwright.encoder.config import EncoderConfig


class Lane:
    """Windows with their states, and what the segments are told of them.

    ``rows`` are the windows' owners, ``lengths`` their tokens; ``states`` (B, T, H) are the last part's.
    """

    def __init__(self, config: EncoderConfig, rows: Sequence[Encoded], lengths: np.ndarray) -> None:
        self._config, self._rows = config, rows
        length = int(lengths.max())
        self.mask = (np.arange(length)[None, :] < lengths[:, None]).astype(np.int32)
        self._turns = turns(config, length)
        self._first: np.ndarray | None = None
        self.states: Any = None

    def embed(self, part: Session, ids: Sequence[np.ndarray], segments: Sequence[np.ndarray], pad_id: int) -> None:
        """Run the embeddings of its windows."""
        filled = np.full(self.mask.shape, pad_id, dtype=np.int64), np.zeros(self.mask.shape, dtype=np.int64)
        for place, row in enumerate(zip(ids, segments, strict=True)):
            for whole, own in zip(filled, row, strict=True):
                whole[place, : len(own)] = own
        given = {"ids": filled[0], "segments": filled[1], **self._biases(part)}
        self.states = part.run(given).states

    def run(self, part: Session, look: bool) -> None:
        """Run a segment; ``look``: what heads see is wanted afterwards."""
        done = part.run({"mask": self.mask, **self._turns, **self._biases(part)}, self.states, look=look)
        self.states, self._first = done.states, done.first

    def pooled(self, normed: bool, mean: bool) -> np.ndarray:
        """Return what heads see, (B, H): the first token or, with ``mean`` or where the family's own head does, the
        mean of all; ``normed``: without a norm's own gain."""
        first = None if mean else self._first
        x = array(self.states) if first is None else first
        if normed:
            x = standardised(x, self._config.norm_eps)
        if first is None:
            weights = self.mask.astype(np.float32)
            x = np.einsum("bth,bt->bh", x, weights) / weights.sum(axis=1, keepdims=True)
        return x

    def take(self, others: Sequence[Lane], places: Sequence[np.ndarray]) -> None:
        """Take over the states of other lanes' windows, each lane's by their places in it, without needless padding."""
        length = self.mask.shape[1]
        taken = [array(one.states)[own, :length] for one, own in zip(others, places, strict=True) if len(own)]
        if len(taken) == 1 and taken[0].shape[1] == length:
            self.states = np.ascontiguousarray(taken[0])
            return
        # What is beyond a shorter window's tokens is padding, which nobody looks at, and has to be finite.
        self.states = np.zeros((*self.mask.shape, taken[0].shape[-1]), dtype=np.float32)
        start = 0
        for one in taken:
            self.states[start : start + len(one), : one.shape[1]] = one
            start += len(one)

    def _biases(self, part: Session) -> dict[str, np.ndarray]:
        if part.place is None:
            return {}
        return {"biases": stacked([row.entry.biases(part.place) for row in self._rows])}

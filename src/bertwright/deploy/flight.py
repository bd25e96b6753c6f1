"""A batch on its way through the segments: rows of any packs, each leaving at its own layer.

Shapes: B rows (windows) still in the batch, T positions, H width, C classes of a row's pack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from bertwright.deploy.bank import Entry
from bertwright.deploy.heads import normed
from bertwright.deploy.rows import Answer, Encoded, answered
from bertwright.deploy.sessions import Session, array, stacked
from bertwright.deploy.turns import turns
from bertwright.encoder.config import EncoderConfig
from bertwright.exits.policies import Policy, State


class _Group:
    """The windows of one pack and policy: which they are, rising, and what the policy remembers of them."""

    def __init__(self, entry: Entry, policy: Policy, windows: list[int]) -> None:
        self.entry, self.policy = entry, policy
        self.windows = np.array(windows)
        self.state: State = policy.begin(len(windows))
        # Behind which layers there is something to decide.
        self.ramps = {layer: place for place, layer in enumerate(entry.ramps) if policy.looks_at(place)}

    def keep(self, staying: np.ndarray) -> None:
        self.windows, self.state = self.windows[staying], self.state.rows(np.flatnonzero(staying))


class Flight:
    """Rows in flight. ``step`` runs the next segment; ``finished`` holds the rows that left at it.

    ``rows_left`` counts rows without an answer, ``layer`` the layers run so far. Packs that are exchanged meanwhile do
    not touch it.
    """

    def __init__(
        self,
        config: EncoderConfig,
        parts: Sequence[Session],
        final_norm: np.ndarray | None,
        rows: Sequence[Encoded],
        pad_id: int,
    ) -> None:
        self._config, self._parts, self._final_norm = config, parts, final_norm
        self._rows = rows
        self.layer = 0
        self.finished: list[tuple[int, Answer]] = []
        self._next = 1
        owners = [(number, place) for number, row in enumerate(rows) for place in range(len(row.ids))]
        self._owner = np.array([number for number, _ in owners])
        self._lengths = np.array([len(rows[number].ids[place]) for number, place in owners])
        self._waiting = [len(row.ids) for row in rows]
        self._logits: list[list[np.ndarray]] = [[] for _ in rows]
        self._windows = np.arange(len(owners))
        groups: dict[tuple[int, Policy], list[int]] = defaultdict(list)
        for window, number in enumerate(self._owner):
            groups[(id(rows[number].entry), rows[number].policy)].append(window)
        self._groups = [
            _Group(rows[int(self._owner[own[0]])].entry, policy, own) for (_, policy), own in groups.items()
        ]
        self._states: Any = self._embedded(owners, pad_id) if owners else None

    @property
    def rows_left(self) -> int:
        """Return how many rows have no answer yet."""
        return sum(1 for left in self._waiting if left)

    @property
    def tokens_left(self) -> int:
        """Return how many tokens the next segment computes, padding included."""
        return int(len(self._windows) * self._lengths.max()) if len(self._windows) else 0

    def step(self) -> list[tuple[int, Answer]]:
        """Run the next segment, and return what ``finished`` then holds: row numbers with their answers."""
        self.finished = []
        if not self.rows_left:
            return self.finished
        part = self._parts[self._next]
        self.layer, last = part.layers[-1] + 1, self._next == len(self._parts) - 1
        self._next += 1
        look = last or any(self.layer in group.ramps for group in self._groups)
        done = part.run(self._given(part), self._states, look=look)
        self._states = done.states
        if look:
            self._leave(done.first, last)
        return self.finished

    def run(self) -> list[Answer]:
        """Run all that is left, and return the answers in the order of the rows."""
        found: dict[int, Answer] = dict(self.finished)
        while self.rows_left:
            found.update(self.step())
        return [found[number] for number in range(len(self._rows))]

    def _embedded(self, owners: list[tuple[int, int]], pad_id: int) -> Any:
        shape = (len(owners), int(self._lengths.max()))
        ids, segments = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for window, (number, place) in enumerate(owners):
            row, length = self._rows[number], self._lengths[window]
            ids[window, :length], segments[window, :length] = row.ids[place], row.segments[place]
        self._about()
        part = self._parts[0]
        return part.run({"ids": ids, "segments": segments, **self._biases(part)}).states

    def _about(self) -> None:
        """Note what the segments are told of the rows that are left."""
        length = int(self._lengths.max())
        self._mask = (np.arange(length)[None, :] < self._lengths[:, None]).astype(np.int32)
        self._turns = turns(self._config, length)

    def _given(self, part: Session) -> dict[str, np.ndarray]:
        return {"mask": self._mask, **self._turns, **self._biases(part)}

    def _biases(self, part: Session) -> dict[str, np.ndarray]:
        if part.place is None:
            return {}
        own = [self._rows[number].entry.biases(part.place) for number in self._owner[self._windows]]
        return {"biases": stacked(own)}

    def _leave(self, first: np.ndarray | None, last: bool) -> None:
        """Answer the rows that leave here, and pack the others together."""
        places = np.full(int(self._windows[-1]) + 1, -1)
        places[self._windows] = np.arange(len(self._windows))
        looking = [group for group in self._groups if last or self.layer in group.ramps]
        pooled = self._pooled(first, places, looking)
        gone = np.zeros(len(self._windows), dtype=bool)
        for group, own in zip(looking, pooled, strict=True):
            head = group.entry.head if last else group.entry.ramps[self.layer]
            logits, scores = head.logits(own)
            leave = np.ones(len(own), dtype=bool)
            if not last:
                leave = group.policy.decide(group.ramps[self.layer], logits, group.state, scores)
            if not leave.any():
                continue
            gone[places[group.windows[leave]]] = True
            self._answer(group.windows[leave], logits[leave])
            group.keep(~leave)
        if gone.any():
            self._keep(np.flatnonzero(~gone))

    def _pooled(self, first: np.ndarray | None, places: np.ndarray, groups: Sequence[_Group]) -> list[np.ndarray]:
        """Return what the groups' heads see, (own rows, H) each."""
        gain, found = self._final_norm, []
        whole = None if first is not None else array(self._states)
        for group in groups:
            own = places[group.windows]
            x = first[own] if first is not None else whole[own]  # type: ignore[index]
            if gain is not None:
                x = normed(x, gain, group.entry.final_norm, self._config.norm_eps)
            if first is None:
                weights = self._mask[own].astype(np.float32)[:, :, None]
                x = (x * weights).sum(axis=1) / weights.sum(axis=1)
            found.append(x)
        return found

    def _answer(self, windows: np.ndarray, logits: np.ndarray) -> None:
        """Note the logits of windows; a row is answered when its last one is, with the mean of all."""
        for window, own in zip(windows, logits, strict=True):
            number = int(self._owner[window])
            self._logits[number].append(own)
            self._waiting[number] -= 1
            if not self._waiting[number]:
                mean = np.asarray(np.mean(self._logits[number], axis=0, dtype=np.float32))
                self.finished.append((number, answered(self._rows[number], mean, self.layer)))

    def _keep(self, staying: np.ndarray) -> None:
        """Pack the rows whose places are given, and cut what is padding to all of them."""
        self._windows, self._lengths = self._windows[staying], self._lengths[staying]
        self._groups = [group for group in self._groups if len(group.windows)]
        if not len(staying):
            self._states = None
            return
        self._about()
        self._states = np.ascontiguousarray(array(self._states)[staying, : self._mask.shape[1]])

"""A batch on its way through the segments: rows of any packs, each leaving at its own layer.

Shapes: B rows (windows) still in the batch, T positions, H width, C classes of a row's pack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bertwright.deploy.bank import Entry
from bertwright.deploy.engine import Engine
from bertwright.deploy.lanes import Lane
from bertwright.deploy.rows import Answer, Encoded, answered
from bertwright.encoder.config import EncoderConfig
from bertwright.errors import Diverged
from bertwright.exits.policies import Policy, State

# Tokens that may go through all layers in one step. A batch of more is no faster so, and others could not overtake it.
_AT_ONCE = 128


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

    A row whose numbers overflowed has its error for an answer, and harms no other.
    ``rows_left`` counts rows without an answer, ``layer`` the layers run so far. Packs that are exchanged meanwhile do
    not touch it.
    """

    def __init__(
        self,
        config: EncoderConfig,
        engine: Engine,
        final_norm: np.ndarray | None,
        rows: Sequence[Encoded],
        pad_id: int,
    ) -> None:
        self._config, self._engine, self._final_norm = config, engine, final_norm
        self._rows = rows
        self.layer = 0
        self.finished: list[tuple[int, Answer | Diverged]] = []
        self._next = 1
        owners = [(number, place) for number, row in enumerate(rows) for place in range(len(row.ids))]
        self._owner = np.array([number for number, _ in owners])
        self._lengths = np.array([len(rows[number].ids[place]) for number, place in owners], dtype=np.int64)
        self._waiting = [len(row.ids) for row in rows]
        self._logits: list[list[np.ndarray]] = [[] for _ in rows]
        groups: dict[tuple[int, Policy], list[int]] = defaultdict(list)
        for window, number in enumerate(self._owner):
            groups[(id(rows[number].entry), rows[number].policy)].append(window)
        self._groups = [
            _Group(rows[int(self._owner[windows[0]])].entry, policy, windows) for (_, policy), windows in groups.items()
        ]
        # Neighbours are of like length, so that a lane has little padding.
        self._windows = np.argsort(-self._lengths, kind="stable")
        self._lanes: list[Lane] = []
        if owners:
            self._embed(owners, pad_id)

    @property
    def rows_left(self) -> int:
        """Return how many rows have no answer yet."""
        return sum(1 for left in self._waiting if left)

    @property
    def tokens_left(self) -> int:
        """Return how many tokens the next segment computes, padding included."""
        return sum(lane.mask.size for lane in self._lanes)

    def step(self) -> list[tuple[int, Answer | Diverged]]:
        """Run the next segment, or all of them where few tokens are at work and nobody leaves before the last.

        Return what ``finished`` then holds: row numbers with their answers.
        """
        self.finished = []
        if not self.rows_left:
            return self.finished
        through = self.tokens_left <= _AT_ONCE and not any(group.ramps for group in self._groups)
        part = self._engine.part(self._next, self._lanes, through=through)
        self._next += 1
        self.layer = part.layers[-1] + 1
        last = self.layer == self._config.layers
        look = last or any(self.layer in group.ramps for group in self._groups)
        self._engine.each(lambda lane: lane.run(part, look), self._lanes)
        if look:
            self._leave(last)
        return self.finished

    def run(self) -> list[Answer]:
        """Run all that is left, and return the answers in the order of the rows; a row's error is raised."""
        answers = dict(self.finished)
        while self.rows_left:
            answers.update(self.step())
        return [_whole(answers[number]) for number in range(len(self._rows))]

    def _embed(self, owners: Sequence[tuple[int, int]], pad_id: int) -> None:
        cuts = self._cut()
        self._lanes = [lane for lane, _ in cuts]

        part = self._engine.part(0, cuts)

        def embed(cut: tuple[Lane, slice]) -> None:
            lane, chosen = cut
            windows = [owners[window] for window in self._windows[chosen]]
            ids = [self._rows[number].ids[place] for number, place in windows]
            lane.embed(part, ids, [self._rows[number].segments[place] for number, place in windows], pad_id)

        self._engine.each(embed, cuts)

    def _cut(self) -> list[tuple[Lane, slice]]:
        """Return new lanes of the windows that are left, each with its part of them."""
        lengths = self._lengths[self._windows]
        cuts = []
        for place in self._engine.cut(lengths):
            rows = [self._rows[number] for number in self._owner[self._windows[place]]]
            cuts.append((Lane(self._config, rows, lengths[place]), place))
        return cuts

    def _leave(self, last: bool) -> None:
        """Answer the rows that leave here, and pack the others together."""
        places = np.full(len(self._lengths), -1)
        places[self._windows] = np.arange(len(self._windows))
        looking = [group for group in self._groups if last or self.layer in group.ramps]
        heads = [group.entry.head if last else group.entry.ramps[self.layer] for group in looking]
        normed = self._final_norm is not None
        whole = {
            mean: np.concatenate([lane.pooled(normed, mean) for lane in self._lanes])
            for mean in {head.mean for head in heads}
        }
        gone = np.zeros(len(self._windows), dtype=bool)
        for group, head in zip(looking, heads, strict=True):
            seen = self._seen(whole[head.mean][places[group.windows]], group)
            logits, scores = head.logits(seen, self._engine.product)
            leave = np.ones(len(seen), dtype=bool)
            if not last:
                leave = group.policy.decide(group.ramps[self.layer], logits, group.state, scores)
            if not leave.any():
                continue
            gone[places[group.windows[leave]]] = True
            self._answer(group.windows[leave], logits[leave])
            group.keep(~leave)
        if gone.any():
            self._keep(np.flatnonzero(~gone))

    def _seen(self, pooled: np.ndarray, group: _Group) -> np.ndarray:
        """Return what a group's heads see, (own rows, H)."""
        return pooled if self._final_norm is None else pooled * self._final_norm + group.entry.final_norm

    def _answer(self, windows: np.ndarray, logits: np.ndarray) -> None:
        """Note the logits of windows; a row is answered when its last one is, with the mean of all."""
        for window, window_logits in zip(windows, logits, strict=True):
            number = int(self._owner[window])
            self._logits[number].append(window_logits)
            self._waiting[number] -= 1
            if not self._waiting[number]:
                mean = np.asarray(np.mean(self._logits[number], axis=0, dtype=np.float32))
                self.finished.append((number, _answer_or_error(self._rows[number], mean, self.layer)))

    def _keep(self, staying: np.ndarray) -> None:
        """Pack the windows whose places are given into new lanes, and cut what is padding to all of a lane."""
        self._windows = self._windows[staying]
        self._groups = [group for group in self._groups if len(group.windows)]
        before, sizes = self._lanes, [len(lane.mask) for lane in self._lanes]
        self._lanes = []
        if not len(staying):
            return
        ends, cuts = np.cumsum(sizes), self._cut()
        self._lanes = [lane for lane, _ in cuts]

        def fill(cut: tuple[Lane, slice]) -> None:
            lane, place = cut
            chosen = staying[place]
            starts = zip(ends - sizes, ends, strict=True)
            lane.take(before, [chosen[(chosen >= start) & (chosen < end)] - start for start, end in starts])

        self._engine.each(fill, cuts)


def _answer_or_error(row: Encoded, logits: np.ndarray, layer: int) -> Answer | Diverged:
    try:
        return answered(row, logits, layer)
    except Diverged as error:
        return error


def _whole(answer: Answer | Diverged) -> Answer:
    if isinstance(answer, Diverged):
        raise answer
    return answer

"""An export's parts and the threads that run them.

Few tokens go through a part as they are, and all threads share each of its products. Many are cut into lanes, some rows
for each thread, and a lane goes through a part on one thread: nobody waits for another between two operators, and what
a thread works on stays in its processor's cache (a tenth and more of the time of a large batch).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from bertwright.deploy.layout import Layout
from bertwright.deploy.manifest import ALL_LAYERS, PRODUCTS, Manifest
from bertwright.deploy.sessions import Session, embeddings, opened, segments

# Tokens of a lane from which on it is the faster way: below, a matrix is read for too few of them.
LEAST = 32

T = TypeVar("T")
R = TypeVar("R")


class Engine:
    """The parts of an exported folder, opened; any number of callers at once.

    ``parts`` share each product among all threads, ``_alone`` are the same parts on one thread, ``all_layers`` is the
    graph of all layers: with several threads, each is a copy of the matrices, as the processor wants them.
    """

    def __init__(self, folder: Path, manifest: Manifest, layout: Layout, threads: int) -> None:
        self.threads = threads
        first = embeddings(folder, layout)
        self.parts = [first, *segments(folder, manifest, layout, threads)]
        self._alone = self.parts if threads == 1 else [first, *segments(folder, manifest, layout, 1)]
        layers = tuple(range(manifest.backbone.shape["layers"]))
        self.all_layers: Session | None = None
        if threads > 1:
            self.all_layers = Session(opened(folder / ALL_LAYERS, threads), layers, layout.layers(layers))
        self._products = opened(folder / PRODUCTS, 1)
        self._pool = ThreadPoolExecutor(threads - 1, "lane") if threads > 1 else None

    def cut(self, lengths: np.ndarray) -> list[slice]:
        """Return the lanes of windows of so many tokens, each a neighbour of its like: one lane, or as many as threads.

        Lanes have nearly the same tokens, and at least one window.
        """
        total = int(lengths.sum())
        if self.threads == 1 or len(lengths) < self.threads or total < self.threads * LEAST:
            return [slice(0, len(lengths))]
        # A window belongs where its middle lies.
        lanes = ((np.cumsum(lengths) - lengths / 2) * self.threads / total).astype(int)
        starts = [0, *(np.flatnonzero(np.diff(lanes)) + 1).tolist(), len(lengths)]
        return [slice(start, stop) for start, stop in pairwise(starts)]

    def product(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Multiply states (B, K) with a head's weight (N, K): (B, N).

        Not by numpy: after a product of this size the threads of its library go on asking for the next for some
        milliseconds, and take the processors from the segments (a ramp behind each layer cost half a batch more).
        """
        (found,) = self._products.run(None, {"x": x, "weight": weight})
        return np.asarray(found)

    def part(self, number: int, lanes: Sequence[object], *, through: bool = False) -> Session:
        """Return a part as so many lanes need it; ``through``: no row leaves behind a layer but the last.

        Then one lane of several threads goes through all layers at once from the first segment on, and wakes them once.
        """
        if len(lanes) > 1:
            return self._alone[number]
        return self.all_layers if through and number == 1 and self.all_layers else self.parts[number]

    def each(self, work: Callable[[T], R], lanes: Sequence[T]) -> list[R]:
        """Do the work of each lane, the first here and the others on threads of their own."""
        if self._pool is None or len(lanes) == 1:
            return [work(lane) for lane in lanes]
        others = [self._pool.submit(work, lane) for lane in lanes[1:]]
        return [work(lanes[0]), *(one.result() for one in others)]

    def mixed_with(self, other: Engine, numbers: Sequence[int]) -> Engine:
        """Return an engine of which some parts are another's that was cut alike."""
        twin = copy.copy(self)
        twin.parts, twin._alone, twin.all_layers = list(self.parts), list(self._alone), None
        for number in numbers:
            twin.parts[number], twin._alone[number] = other.parts[number], other._alone[number]
        return twin

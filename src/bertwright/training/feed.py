"""Data of a step, made while the one before is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from bertwright.training.order import Place

MicroBatches = Sequence[Mapping[str, Any]]


class Batches(Protocol):
    """Endless steps of data, each a list of micro-batches, as a pure function of the place.

    A micro-batch is a mapping of tensors with two integers beside them: ``count`` (labels) and ``tokens``.
    """

    @property
    def steps_per_epoch(self) -> int | None:
        """Return the steps of one pass over the data, ``None`` where it has no end."""

    def rows(self, place: Place) -> int:
        """Return how many rows the step at a place takes, over all ranks."""

    def step(self, place: Place, rank: int, world: int) -> MicroBatches:
        """Return this rank's micro-batches of the step at a place."""


class Feed:
    """Gives steps in order. For a GPU a thread makes the next one and pins it; a CPU has no core to spare for that."""

    def __init__(self, batches: Batches, rank: int, world: int, device: torch.device, *, ahead: bool) -> None:
        self._batches, self._rank, self._world, self._device = batches, rank, world, device
        self._thread = ThreadPoolExecutor(1, "feed") if ahead else None
        self._next: tuple[Place, Future[MicroBatches]] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, with what it has begun."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def take(self, place: Place, following: Place) -> MicroBatches:
        """Return the micro-batches at a place, and begin with those at the ``following`` one."""
        micro_batches = self._next[1].result() if self._next and self._next[0] == place else self._make(place)
        if self._thread is not None:
            self._next = following, self._thread.submit(self._make, following)
        return micro_batches

    def _make(self, place: Place) -> MicroBatches:
        micro_batches = self._batches.step(place, self._rank, self._world)
        return [{key: self._pinned(value) for key, value in batch.items()} for batch in micro_batches]

    def _pinned(self, value: Any) -> Any:
        return value.pin_memory() if isinstance(value, Tensor) and self._device.type == "cuda" else value


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a micro-batch with its tensors on a device."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in batch.items()
    }

"""Batches of a task with an expert's signals beside the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bertwright.debias.alignment import Aligned
from bertwright.debias.signals import Signals
from bertwright.errors import InputError
from bertwright.recipe.debias_settings import Settings
from bertwright.tasks.batches import Encoded, TrainBatches, collate
from bertwright.training.order import Place


class SignalBatches:
    """Steps of ``TrainBatches`` with what a loss needs beside them: a pure function of seed and place, as they are.

    ``expert`` and ``teacher`` are joined to the rows already, ``aligned`` is in their order, and ``partial`` are the
    rows as a bias head reads them.
    """

    def __init__(
        self,
        batches: TrainBatches,
        rows: Encoded,
        settings: Settings,
        *,
        expert: Signals | None = None,
        teacher: Signals | None = None,
        aligned: Aligned | None = None,
        partial: Encoded | None = None,
    ) -> None:
        if rows.owners is not None:
            raise InputError(
                "found a long row cut into windows, and an expert's signals are of whole rows; leave `window_stride` "
                "out, or train without an expert"
            )
        self._batches, self._settings = batches, settings
        self._logits = {"expert": expert, "teacher": teacher}
        self._aligned, self._partial = aligned, partial

    @property
    def steps_per_epoch(self) -> int:
        """Return the steps of one pass over the rows."""
        return self._batches.steps_per_epoch

    def rows(self, place: Place) -> int:
        """Return the rows of a step."""
        return self._batches.rows(place)

    def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
        """Return this rank's micro-batches of a step, with signals."""
        theta = self._settings.theta(place.share)
        return [{**batch, **self.beside(batch), "theta": theta} for batch in self._batches.step(place, rank, world)]

    def beside(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a loss needs beside a batch of the rows, whichever these are."""
        rows: np.ndarray = batch["rows"].numpy()
        found: dict[str, Any] = {
            name: torch.from_numpy(one.logits[rows]) for name, one in self._logits.items() if one is not None
        }
        if self._aligned is not None:
            found |= {name: torch.from_numpy(array) for name, array in self._aligned.batch(rows).items()}
        if self._partial is not None:
            part = collate(self._partial, rows)
            found |= {f"bias_{name}": part[name] for name in ("ids", "mask", "segments")}
        return found

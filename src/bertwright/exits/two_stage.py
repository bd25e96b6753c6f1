"""Ramps on a frozen classifier: every layer's pooled states are computed once, then all ramps learn from them.

Published code runs the whole model forward, and backward, each epoch (DeeBERT's second stage). What a ramp
sees never changes while the backbone is frozen, so here it is computed once, without dropout, and kept.
Shapes: n rows, R ramps, H width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bertwright import files
from bertwright.encoder.models import Classifier
from bertwright.errors import InputError
from bertwright.exits.losses import ramps_loss
from bertwright.exits.ramps import Ramps, checked_layers, seeing
from bertwright.recipe.exits_settings import RampSettings
from bertwright.tasks.batches import Encoded, in_order_of_length
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence
from bertwright.training.feed import on_device
from bertwright.training.loop import Outcome, train
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.order import Order, Place
from bertwright.training.ranks import Ranks
from bertwright.training.schedules import Schedule

# On a CPU small batches stay in the cache between two operations: a third faster than 64 rows.
_BATCH = {"cpu": 16}
_USUAL_BATCH = 256


def pooled_states(
    classifier: Classifier,
    rows: Encoded,
    layers: Sequence[int],
    pooling: str = "head",
    *,
    path: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Return what ramps of a ``pooling`` after ``layers`` see of each row, (n, R, H), in the classifier's format, on
    the CPU.

    The classifier is frozen in earnest: evaluated, in inference mode, no layer above the highest ramp run. The states
    take n x R x H numbers of memory; with a ``path`` they lie in that new file instead, mapped. ``progress`` is told
    how many rows were done since it was told last.
    """
    encoder, chosen = classifier.encoder, checked_layers(layers, classifier.encoder.config.layers)
    if not rows.ids:
        raise InputError("there are 0 rows to train ramps on; give the rows that the classifier was trained on")
    weight = classifier.head.output.weight
    found = _room((len(rows.ids), len(chosen), encoder.config.width), weight.dtype, path)
    was_training = classifier.training
    classifier.eval()
    see = seeing(encoder, pooling)
    with torch.inference_mode():
        for numbers, batch in in_order_of_length(rows, _BATCH.get(weight.device.type, _USUAL_BATCH)):
            here = on_device(batch, weight.device)
            x = encoder.embed(here["ids"], here["segments"])
            context = encoder.context(x.shape[1], here["mask"], x.dtype, x.device)
            place, there = 0, torch.from_numpy(numbers)
            for number, states in enumerate(encoder.layers(x, context), 1):
                if number == chosen[place]:
                    found[there, place] = see(states, here["mask"]).cpu()
                    place += 1
                    if place == len(chosen):
                        break
            progress(len(numbers))
    classifier.train(was_training)
    return found


def _room(shape: tuple[int, ...], dtype: torch.dtype, path: Path | None) -> Tensor:
    if path is None:
        return torch.empty(shape, dtype=dtype)
    size = int(np.prod(shape))
    files.reserve(path, size * dtype.itemsize)
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)


@dataclass(frozen=True)
class PooledBatches:
    """Steps over kept states (n, R, H) and labels, epoch after epoch; a pure function of seed and place."""

    states: Tensor
    labels: Tensor
    order: Order
    batch: int

    @property
    def steps_per_epoch(self) -> int:
        """Return the steps of one pass over the rows."""
        return -(-len(self.labels) // self.batch)

    def rows(self, place: Place) -> int:
        """Return how many rows the step at a place takes."""
        return self.batch

    def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
        """Return this rank's rows of a step, as one micro-batch."""
        numbers, _ = self.order.take(place.row, place.row + self.batch)
        own = torch.from_numpy(numbers[rank::world])
        count = len(own)
        return [{"pooled": self.states[own], "labels": self.labels[own], "count": count, "tokens": count}]


def learn_ramps(
    ramps: Ramps,
    states: Tensor,
    labels: np.ndarray,
    kind: str,
    settings: RampSettings,
    *,
    seed: int,
    folder: Path,
    metrics: Path,
    weights: Tensor | None = None,
    checkpoint_every: Budget | None = None,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Train all ramps together on pooled states (n, R, H), by the one loop; seconds, where the backbone took minutes.

    ``folder`` holds checkpoints and ``metrics`` is the file of training losses, as for ``train``; a stopped training
    continues. ``weights`` (C,) are the labels'.
    """
    if states.shape[:2] != (len(labels), len(ramps.layers)):
        raise InputError(
            f"states of {states.shape[0]} rows at {states.shape[1]} ramps, expected {len(labels)} rows at "
            f"{len(ramps.layers)} ramps: one for each label and ramp"
        )
    optimizer = Optimizer(
        list(ramps.named_parameters()),
        name="adamw",
        settings=Settings(settings.learning_rate, settings.weight_decay, betas=(0.9, 0.999), eps=1e-8),
    )
    gold = torch.from_numpy(np.asarray(labels))
    return train(
        ramps,
        PooledBatches(states, gold, Order(len(labels), seed), settings.batch),
        ramps_loss(kind, weights),
        optimizer,
        schedule=Schedule(settings.schedule),
        warmup=settings.warmup,
        budget=Budget("epochs", settings.epochs),
        clip=settings.clip,
        seed=seed,
        ranks=Ranks(),
        folder=folder,
        metrics=metrics,
        cadence=Cadence(checkpoint_every or Budget("seconds", 300)),
        progress=progress,
    )

"""Ramps that learn together with the model: what they bring to a run's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bertwright.encoder.models import Classifier
from bertwright.exits.losses import Numbered, exits_loss
from bertwright.exits.ramps import RampedClassifier, Ramps, build_ramps
from bertwright.tasks.batches import TrainBatches
from bertwright.training.losses import Loss


@dataclass(frozen=True)
class Ramped:
    """A model with its ramps, the batches and the loss over all exits that both learn by."""

    learner: RampedClassifier
    batches: Numbered
    loss: Loss


def ramped(
    model: Classifier, options: Mapping[str, Any], kind: str, batches: TrainBatches, weights: np.ndarray | None
) -> Ramped:
    """Return what learns where a run's options have ``ramped``; ``weights`` (C,) are the labels'."""
    exits = options["ramped"]
    ramps = asked_for(model, exits, options["seed"])
    own = None if weights is None else torch.tensor(weights).float()
    return Ramped(RampedClassifier(model, ramps), Numbered(batches), exits_loss(exits["routine"], kind, own))


def asked_for(model: Classifier, exits: Mapping[str, Any], seed: int) -> Ramps:
    """Return untrained ramps as a run's ``exits`` ask for them."""
    return build_ramps(
        model,
        exits["layers"] or None,
        form=exits["form"],
        pooling=exits["pooling"],
        start=exits["start"],
        scored=exits["scored"],
        seed=seed,
    )

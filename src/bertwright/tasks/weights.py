"""How much the rows of each label count in the loss, where labels are not equally frequent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bertwright.errors import DataError
from bertwright.tasks.labels import LabelMap


def label_weights(choice: str | Mapping[str, float], labels: LabelMap, numbers: np.ndarray) -> np.ndarray:
    """Return a weight for each label, (C,), from the labels of the training rows, (n,) or (n, C).

    Of classes, ``balanced`` weighs a row by one over its label's share; given weights count against each other, and
    those of labels that are not named are 1. Either way they are scaled to a mean of 1 over the rows, so that the
    learning rate keeps its meaning. Of several labels a row, a weight is that of having the label against lacking it:
    ``balanced`` is rows without (at least one) over rows with. ``DataError`` where a named label is in no training row.
    """
    names = labels.names or ()
    if isinstance(choice, Mapping) and (strange := sorted(set(choice) - set(names))):
        raise DataError(
            f"`class_weights` names {', '.join(map(repr, strange))}, which no training row has (found: "
            f"{', '.join(names)}); correct it or take it out"
        )
    given = np.array([choice.get(name, 1.0) for name in names]) if isinstance(choice, Mapping) else None
    if labels.kind == "multi-label":
        there = numbers.sum(axis=0)
        return given if given is not None else np.maximum(1, len(numbers) - there) / there
    counts = np.bincount(numbers, minlength=len(names))
    weights = given if given is not None else 1.0 / counts
    return np.asarray(weights * len(numbers) / (weights * counts).sum())

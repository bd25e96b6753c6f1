"""How good an expert is, in numbers, and what speaks against it, in sentences.

Shapes: n rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.special

from bertwright.debias.intervals import wilson
from bertwright.tasks.calibration import calibration

_SURE = 0.99
# So far above its accuracy, an expert's mean confidence is that of one that scores rows it was fitted on.
_OVERCONFIDENT = 0.1
# Rows of a set from which on a fall would be seen.
_ENOUGH = 100


@dataclass(frozen=True)
class Quality:
    """What an expert knows of the rows it has to score, and what speaks against it, in sentences.

    Shares of rows: right (with its 95 % interval), of the largest class, sure (probability above 0.99), sure and wrong.
    ``gold`` is the mean probability of the gold label and ``error`` the expected calibration error.
    """

    rows: int
    accuracy: float
    interval: tuple[float, float]
    majority: float
    gold: float
    confidence: float
    error: float
    sure: float
    sure_and_wrong: float
    warnings: tuple[str, ...]


def quality(logits: np.ndarray, golds: np.ndarray, *, main_accuracy: float | None = None) -> Quality:
    """Measure an expert's logits (n, C) against gold labels (n,); ``main_accuracy`` is that of plain cross entropy."""
    chances = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    right = chances.argmax(-1) == golds
    largest = chances.max(-1)
    low, high = (float(side) for side in wilson(np.array(right.sum()), np.array(len(golds))))
    measured = calibration(logits, golds, "classification")
    found = Quality(
        rows=len(golds),
        accuracy=float(right.mean()),
        interval=(low, high),
        majority=float(np.bincount(golds).max() / len(golds)),
        gold=float(chances[np.arange(len(golds)), golds].mean()),
        confidence=float(largest.mean()),
        error=measured.error if measured else 0.0,
        sure=float((largest > _SURE).mean()),
        sure_and_wrong=float(((largest > _SURE) & ~right).mean()),
        warnings=(),
    )
    return Quality(**{**vars(found), "warnings": tuple(_warnings(found, main_accuracy))})


def _warnings(found: Quality, main_accuracy: float | None) -> list[str]:
    told = []
    right = f"{100 * found.accuracy:.1f} % of {found.rows:,} rows"
    if found.interval[0] <= found.majority:
        told.append(
            f"the expert is right on {right}, not clearly more than the largest class ({100 * found.majority:.1f} %): "
            "it has no shortcut to warn of, and a loss with it is close to plain cross entropy; choose another one"
        )
    if main_accuracy is not None and found.accuracy >= main_accuracy:
        told.append(
            f"the expert is right on {right}, no less than the model without it ({100 * main_accuracy:.1f} %): what it "
            "knows is more than a shortcut, and the model would unlearn it; choose a smaller expert, or a part of the "
            "input"
        )
    if found.confidence - found.accuracy > _OVERCONFIDENT:
        told.append(
            f"the expert is surer ({100 * found.confidence:.1f} % on average) than it is right ({right}); fit it on "
            "other rows than it scores (folds), or stop it earlier"
        )
    return told


@dataclass(frozen=True)
class Reached:
    """What an expert reached on a set: share of rows right, share of the largest class, rows."""

    accuracy: float
    majority: float
    rows: int

    @property
    def lift(self) -> tuple[float, float]:
        """Return how far it is above the largest class, as a 95 % interval."""
        low, high = (float(side) for side in wilson(np.array(round(self.accuracy * self.rows)), np.array(self.rows)))
        return low - self.majority, high - self.majority


def not_biased(home: str, reached: Mapping[str, Reached]) -> str | None:
    """Say so where what an expert knows of the set ``home`` holds on all other sets too; ``None`` where it does not.

    Accuracies are compared above the largest class of their set, since sets have other labels, and in other shares.
    """
    others = {name: one for name, one in reached.items() if name != home}
    if home not in reached or any(one.rows < _ENOUGH for one in reached.values()):
        return None  # nothing is clear on few rows
    least = reached[home].lift[0]
    if least <= 0 or not others or any(one.lift[1] < least for one in others.values()):
        return None
    told = ", ".join(f"{100 * one.accuracy:.1f} % of {name}" for name, one in others.items())
    return (
        f"the expert is right on {100 * reached[home].accuracy:.1f} % of {home} and on {told}: above the largest class "
        "it is nowhere clearly worse, so that what it knows is no shortcut that these sets break; choose another, or "
        "other sets"
    )


def mean_weight(logits: np.ndarray, golds: np.ndarray) -> float:
    """Return the mean of 1 - q over a training set, q being what the expert gives the gold label: ``reweight``'s scale.

    Never below 1e-6, where an expert that is certain and right on every row leaves nothing to learn.
    """
    chances = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    return max(float(1.0 - chances[np.arange(len(golds)), golds].mean()), 1e-6)

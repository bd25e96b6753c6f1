"""Where a model errs: the confusion table of a set, and the rows that most seeds get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SHOWN = 20


@dataclass(frozen=True)
class Mistake:
    """A row, by its number, that some seeds got wrong: in how many, and how sure of the gold answer they were."""

    row: int
    wrong: int
    chance: float
    answers: tuple[int, ...]
    """The class each seed gave."""


def confusion(gold: np.ndarray, predicted: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """Return the mean count over seeds of rows by gold class (first axis) and predicted class, (C, C)."""
    table = np.zeros((classes, classes))
    for answers in predicted:
        np.add.at(table, (gold, answers), 1.0)
    return np.asarray(table / max(1, len(predicted)))


def often_wrong(gold: np.ndarray, probabilities: Sequence[np.ndarray], shown: int = _SHOWN) -> list[Mistake]:
    """Return the rows that most seeds got wrong, those least sure of the gold class (n,) first among equals.

    ``probabilities`` holds each seed's, (n, C).
    """
    stacked = np.stack(probabilities)
    answers = stacked.argmax(axis=-1)
    wrong = (answers != gold).sum(axis=0)
    chance = stacked[:, np.arange(len(gold)), gold].mean(axis=0)
    order = np.lexsort((chance, -wrong))
    return [
        Mistake(int(row), int(wrong[row]), float(chance[row]), tuple(int(one) for one in answers[:, row]))
        for row in order[:shown]
        if wrong[row]
    ]

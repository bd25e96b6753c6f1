"""What early exits are expected to save."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bertwright.errors import InputError


def exit_counts(exits: np.ndarray, number: int) -> np.ndarray:
    """Return how many rows left at each of ``number`` exits, (E,), from the exit of each row (n,), counted from 0."""
    return np.bincount(np.asarray(exits, dtype=np.int64), minlength=number)


def expected_saving(counts: np.ndarray, costs: Sequence[float]) -> float:
    """Return 1 - sum(cost_i N_i) / (cost_n sum N_i): the share of the whole model's work that is not done.

    ``counts`` (E,) are the rows N_i that left at each exit, ``costs`` (E,) the layers run until it, or seconds. DeeBERT
    (Xin et al. 2020) has layers; its code prints the cost ratio, which is one less this. Of no rows
    nothing is known: ``InputError``.
    """
    counts, cost = np.asarray(counts, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if counts.shape != cost.shape:
        raise InputError(f"{counts.size} counts of rows for {cost.size} exits; expected one for each exit")
    if counts.sum() == 0 or cost[-1] <= 0:
        raise InputError("no row left at any exit: the saving of no rows is undefined; give some rows")
    return float(1 - counts @ cost / (cost[-1] * counts.sum()))

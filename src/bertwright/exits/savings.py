"""What early exits save and cost: expected savings, scores of each exit, the curve of score against saving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit, taken
from bertwright.exits.policies import Policy
from bertwright.tasks.metrics import METRICS, Score


@dataclass(frozen=True)
class Point:
    """One policy on the curve: the expected saving (0 to 1), the score, and the rows that left at each exit, (E,)."""

    policy: Policy
    saving: float
    score: Score
    counts: tuple[int, ...]


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


def exit_scores(every: EveryExit, gold: np.ndarray, metric: str, positive: int | None = None) -> list[Score]:
    """Return the score of each exit alone, as if all rows left there (DeeBERT's figure 4); ``gold`` (n,) or (n, C)."""
    return [METRICS[metric].compute(gold, answers, positive) for answers in every.answers()]


def curve(
    every: EveryExit,
    gold: np.ndarray,
    policies: Sequence[Policy],
    metric: str,
    *,
    positive: int | None = None,
    costs: Sequence[float] | None = None,
) -> list[Point]:
    """Return score against expected saving, a point for each policy in their order (DeeBERT's figure 2).

    ``costs`` (E,) are what leaving at each exit costs, in any unit; the layers by default.
    """
    answers, found = every.answers(), []
    for policy, exits in zip(policies, every.leaving(policies), strict=True):
        counts = exit_counts(exits, len(every.layers))
        score = METRICS[metric].compute(gold, taken(answers, exits), positive)
        saving = expected_saving(counts, every.layers if costs is None else costs)
        found.append(Point(policy, saving, score, tuple(int(one) for one in counts)))
    return found

"""What seeds and rows allow to say: means with intervals, and paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from bertwright.tasks.metrics import METRICS, Score

SAMPLES = 1000
"""Samples of a comparison that are drawn."""
_LEVEL = 0.95
MOST_UNDEFINED = 0.05
"""Share of the samples in which a score may be undefined; with more, the rest does not stand for all of them."""
# Differences of means of the same shares are 0 but for rounding.
_CRUMB = 1e-12


@dataclass(frozen=True)
class Summary:
    """Mean over seeds, sample deviation, and the 95 % interval of the mean by Student's t (``None`` under two)."""

    values: tuple[float, ...]
    mean: float | None
    deviation: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """The mean difference of two systems, its 95 % interval, and whether that is clear of 0.

    ``samples`` are those in which both scores are defined, ``undefined`` is the share of the others: where it is above
    5 %, the interval's ends are ``None``. ``same_seeds``: each sample had the same seeds of both systems.
    """

    difference: float
    interval: tuple[float, float] | tuple[None, None]
    clear: bool
    samples: int
    undefined: float = 0.0
    same_seeds: bool = False


def summarise(values: Sequence[float], *, least: float = -math.inf, most: float = math.inf) -> Summary:
    """Summarise one score a seed; the interval keeps to what a score can be, which loses nothing of its level."""
    if not values:
        return Summary((), None, None, None)
    mean = float(np.mean(values))
    if len(values) < 2:
        return Summary(tuple(values), mean, None, None)
    deviation = float(np.std(values, ddof=1))
    half = float(scipy.stats.t.ppf((1 + _LEVEL) / 2, len(values) - 1)) * deviation / len(values) ** 0.5
    return Summary(tuple(values), mean, deviation, (max(least, mean - half), min(most, mean + half)))


def compare(
    gold: np.ndarray,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    *,
    metric: str,
    positive: int | None = None,
    same_seeds: bool = False,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison | None:
    """Compare two systems on one set by a paired bootstrap over rows and seeds; ``None`` where a score is undefined.

    ``gold`` is (n,) or (n, C); ``first`` and ``second`` hold each seed's answers in the same form. Each sample draws
    rows with replacement, the same for both systems, and seeds with replacement: the same for both where the caller
    knows that both ran ``same_seeds``, in the same order, else for each apart.
    """
    compute = METRICS[metric].compute
    whole = _mean_difference(gold, first, second, compute, positive)
    if whole is None:
        return None
    together = same_seeds and len(first) == len(second)
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    differences = []
    for _ in range(samples):
        rows = generator.integers(0, len(gold), len(gold))
        seeds = generator.integers(0, len(first), len(first))
        others = seeds if together else generator.integers(0, len(second), len(second))
        a, b = [first[i][rows] for i in seeds], [second[i][rows] for i in others]
        difference = _mean_difference(gold[rows], a, b, compute, positive)
        if difference is not None:
            differences.append(difference)
    undefined = 1 - len(differences) / samples
    if undefined > MOST_UNDEFINED:
        return Comparison(whole, (None, None), False, len(differences), undefined, together)
    low, high = (float(q) for q in np.quantile(differences, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]))
    clear = low > _CRUMB or high < -_CRUMB
    return Comparison(whole, (low, high), clear, len(differences), undefined, together)


def _mean_difference(
    gold: np.ndarray,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    compute: Callable[[np.ndarray, np.ndarray, int | None], Score],
    positive: int | None,
) -> float | None:
    means = []
    for system in (first, second):
        scores = [compute(gold, answers, positive) for answers in system]
        values = [score.value for score in scores if score.value is not None]
        if len(values) < len(scores):
            return None
        means.append(float(np.mean(values)))
    return means[0] - means[1]

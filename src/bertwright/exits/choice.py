"""Thresholds as papers choose them: by the score on some rows, of which nothing is promised."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit
from bertwright.exits.calibration import Promise
from bertwright.exits.policies import Policy
from bertwright.exits.savings import exit_counts, expected_saving


def by_score(
    every: EveryExit,
    policies: Sequence[Policy],
    score: Callable[[np.ndarray], float | None],
    *,
    metric: str,
    max_drop: float,
    delta: float,
) -> Promise:
    """Choose the policy that saves most of those whose score on these rows falls by at most ``max_drop``.

    ``score(exits)`` is the metric's value where row i leaves at ``exits[i]``, (n,). Xin et al. 2020 (DeeBERT) choose
    three thresholds so, on dev. Where no policy is good enough it is the strictest, and the sentence says so.
    ``InputError`` where the score of the whole model is undefined.
    """
    found = every.leaving(policies)
    full = score(np.full(every.rows, len(every.layers) - 1))
    if full is None:
        raise InputError(f"{metric} is undefined on the calibration rows; give rows of which it is defined")
    values = [score(exits) for exits in found]
    savings = [expected_saving(exit_counts(exits, len(every.layers)), every.layers) for exits in found]
    within = [place for place, value in enumerate(values) if value is not None and full - value <= max_drop]
    best = max(within, key=lambda place: (savings[place], place), default=0)
    reached = values[best]
    said = "undefined" if reached is None else f"{reached:.4f}"
    lost = f"{metric} went from {full:.4f} to {said} on the {every.rows:,} rows that chose it"
    told = f"{policies[best].text} has an expected saving of {100 * savings[best]:.1f} %; {lost}"
    missed = "" if within else f"; no policy stays within a drop of {100 * max_drop:g} %, and this is the strictest"
    counts = tuple(int(one) for one in exit_counts(found[best], len(every.layers)))
    return Promise(
        policies[best],
        "by-score",
        f"{told}{missed}. Nothing is promised of other rows.",
        rows=every.rows,
        saving=savings[best],
        counts=counts,
        delta=delta,
        metric=metric,
        max_drop=max_drop,
    )

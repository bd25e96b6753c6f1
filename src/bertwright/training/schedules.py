"""Learning-rate schedules as multipliers of the peak, on integers: ``done`` of ``total`` after the warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable

# Flat intervals of Elastic Step Decay: it starts to fall when 2^(-6/2) = 1/8 of the time is left.
_FLAT = 6


def elastic_step_decay(done: int, total: int) -> float:
    """ExtremeBERT's schedule, with r = 2^(-1/2) and l = 6: eta_0 up to (1 - r^l) T, then eta_0 (1/(2r))^(i - l).

    Interval i is (1 - r^(i-1), 1 - r^i] T, closed on the right as the paper has it. A step lies at or before the end of
    interval i when (T - t)^2 2^i >= T^2: whole numbers, so that no boundary hangs on a rounded logarithm.
    """
    left = total - done
    if left <= 0:
        return 0.0
    squared, interval = total * total, _FLAT
    while (left * left) << interval < squared:
        interval += 1
    return float(2.0 ** ((_FLAT - interval) / 2))


def linear(done: int, total: int) -> float:
    """Fall from 1 to 0 in a straight line."""
    return max(0.0, (total - done) / total)


def cosine(done: int, total: int) -> float:
    """Fall from 1 to 0 along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / total)))


def constant(done: int, total: int) -> float:
    """Stay at 1."""
    return 1.0


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "esd": elastic_step_decay,
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
}


def multiplier(schedule: str, done: int, total: int, warmup: float) -> float:
    """Return the multiplier of the peak learning rate.

    It rises over the first ``warmup`` share of ``total``; the schedule's T is what comes after. The rise is counted
    from the end of a unit of work, so that the first step already moves.
    """
    rising = int(total * warmup)
    if done < rising:
        # Time is counted in microseconds: a step is many of them, and the very first would still have a rate of 0.
        return max((done + 1) / rising, 1e-3)
    return SCHEDULES[schedule](done - rising, total - rising)

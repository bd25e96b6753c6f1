"""Learning-rate schedules as multipliers of the peak, on integers: ``done`` of ``total`` after the warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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


def cosine(done: int, total: int, cycles: int = 1) -> float:
    """Fall from 1 to 0 along half a cosine, ``cycles`` times, each from 1 on (Loshchilov and Hutter 2017)."""
    if done >= total:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * (done * cycles % total) / total))


def polynomial(done: int, total: int, power: float = 2.0) -> float:
    """Fall from 1 to 0 as a power of the share that is left."""
    return float(linear(done, total) ** power)


def warmup_stable_decay(done: int, total: int, decay: float = 0.2) -> float:
    """Stay at 1, then fall over the last ``decay`` share as 1 - sqrt (Haegele et al. 2024)."""
    falling = max(1, round(total * decay))
    return 1.0 - math.sqrt(min(1.0, max(0, done - (total - falling)) / falling))


def constant(done: int, total: int) -> float:
    """Stay at 1."""
    return 1.0


@dataclass(frozen=True)
class Schedule:
    """A schedule by name, and the numbers that some have: cosine's cycles, polynomial's power, WSD's share of decay."""

    name: str
    cycles: int = 1
    power: float = 2.0
    decay: float = 0.2

    def __call__(self, done: int, total: int) -> float:
        """Return the multiplier when ``done`` of ``total`` is behind, the warm-up left out."""
        return SCHEDULES[self.name](self, done, total)


SCHEDULES: dict[str, Callable[[Schedule, int, int], float]] = {
    "esd": lambda _, done, total: elastic_step_decay(done, total),
    "linear": lambda _, done, total: linear(done, total),
    "cosine": lambda own, done, total: cosine(done, total, own.cycles),
    "polynomial": lambda own, done, total: polynomial(done, total, own.power),
    "wsd": lambda own, done, total: warmup_stable_decay(done, total, own.decay),
    "constant": lambda _, done, total: constant(done, total),
}


def multiplier(schedule: Schedule, done: int, total: int, warmup: float) -> float:
    """Return the multiplier of the peak learning rate.

    It rises over the first ``warmup`` share of ``total``; the schedule's T is what comes after. The rise is counted
    from the end of a unit of work, so that the first step already moves.
    """
    rising = int(total * warmup)
    if done < rising:
        # Time is counted in microseconds: a step is many of them, and the very first would still have a rate of 0.
        return max((done + 1) / rising, 1e-3)
    return schedule(done - rising, total - rising)

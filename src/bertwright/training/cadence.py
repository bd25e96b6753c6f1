"""What a training does beside its steps, and when: measure, pass milestones, give up, save, stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bertwright.training.budget import Budget
from bertwright.training.checkpoint import State
from bertwright.training.ranks import Ranks

Evaluate = Callable[[], dict[str, float]]
Measure = Callable[[Evaluate], dict[str, float]]
"""Puts a model at rest, evaluates it, and notes and returns what came out."""


def used(budget: Budget, state: State) -> int:
    """Return what a training has used of a budget, in the integers of ``Budget.total``."""
    return budget.done(steps=state.updates, tokens=state.tokens, seconds=state.seconds)


@dataclass(frozen=True)
class Cadence:
    """``evaluate`` is called before the first step and ``evaluations`` times evenly over the budget, last at its end.

    A checkpoint is written every ``checkpoint_every``, in time, steps or tokens. ``until`` is the share of the budget
    to stop at, with the schedule of the whole; after an evaluation ``hopeless`` may give the training up.
    ``at_milestone`` is called behind each share of the budget in ``milestones``.
    """

    checkpoint_every: Budget
    evaluate: Evaluate | None = None
    evaluations: int = 1
    until: float = 1.0
    milestones: Sequence[float] = ()
    at_milestone: Callable[[float], None] = lambda _: None
    hopeless: Callable[[State], bool] = lambda _: False

    def end(self, total: int) -> int:
        """Return where a training stops whose whole budget is ``total``."""
        return max(1, round(total * self.until))

    def portions(self, state: State) -> int:
        """Return how many whole portions of ``checkpoint_every`` a training has behind it."""
        return used(self.checkpoint_every, state) // self.checkpoint_every.total(None)

    def before_steps(self, state: State, measure: Measure) -> None:
        """Have the fresh model measured; a training that continues has been."""
        if self.evaluate is not None and state.step == 0:
            state.first = state.final = measure(self.evaluate)

    def after_step(self, state: State, total: int, before: int, after: int, ranks: Ranks, measure: Measure) -> None:
        """Have the model measured, and milestones passed, that lie in a step ``before`` to ``after`` of ``total``."""
        end = self.end(total)
        due = after >= end or after * self.evaluations // total > before * self.evaluations // total
        if self.evaluate is not None and due:
            state.final = measure(self.evaluate)
            state.gave_up = bool(ranks.first(after < end and self.hopeless(state))[0])
        for share in self.milestones:
            if before < share * total <= after:
                self.at_milestone(share)

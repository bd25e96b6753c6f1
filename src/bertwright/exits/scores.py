"""What exits reach on a task's sets: the score of each layer, score against saving, where rows leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertwright.exits.answers import EveryExit, taken
from bertwright.exits.calibration import Promise
from bertwright.exits.drift import drift
from bertwright.exits.measures import entropy
from bertwright.exits.policies import Policy
from bertwright.exits.savings import exit_counts, expected_saving
from bertwright.tasks.metrics import Score
from bertwright.tasks.scoring import ScoredSet
from bertwright.tasks.statistics import Comparison, compare


@dataclass(frozen=True)
class ExitScores:
    """A set's answers at every exit, and how they are scored: by the set's first metric."""

    one: ScoredSet
    every: EveryExit

    @property
    def metric(self) -> str:
        """Return the metric."""
        return self.one.form.metrics[0]

    @property
    def answers(self) -> np.ndarray:
        """Return what each exit answers, (E, n) or (E, n, C), in the set's own labels."""
        return np.stack([self.one.answers(logits) for logits in self.every.logits])

    def at(self, answers: np.ndarray, exits: np.ndarray) -> Score:
        """Return the score where row i leaves at ``exits[i]``, (n,)."""
        return self.one.score(self.metric, taken(answers, exits))

    def against_whole(self, answers: np.ndarray, exits: np.ndarray) -> Comparison | None:
        """Return the score with these exits less the whole model's, with its interval over rows, the same for both."""
        gold, early, whole = (
            self.one.compared(self.metric, own) for own in (self.one.gold, taken(answers, exits), answers[-1])
        )
        return compare(gold, [early], [whole], metric=self.metric, positive=self.one.positive)


def scores_of(found: ExitScores, policies: Sequence[Policy], promises: Sequence[Promise]) -> dict[str, Any]:
    """Return all that is told of a set: each exit alone, the curve of the candidates, and what was chosen."""
    answers, every = found.answers, found.every
    each = [found.one.score(found.metric, own) for own in answers]
    curve = [_point(found, answers, policy.text, exits) for policy, exits in _leaving(every, policies)]
    chosen = []
    for promise, (policy, exits) in zip(promises, _leaving(every, [one.policy for one in promises]), strict=True):
        point = _point(found, answers, policy.text, exits)
        moved = drift(promise.counts, point["counts"])
        apart = found.against_whole(answers, exits)
        chosen.append(
            {
                **point,
                "difference": None if apart is None else apart.difference,
                "interval": None if apart is None or None in apart.interval else list(apart.interval),
                "drifted": moved.drifted,
                "drift": moved.sentence,
            }
        )
    told = {
        "metric": found.metric,
        "rows": every.rows,
        "known": found.one.form.known,
        "scores": [one.value for one in each],
        "notes": sorted({one.note for one in each if one.note}),
        "curve": curve,
        "chosen": chosen,
    }
    if every.kind != "regression":
        told["entropy"] = [float(entropy(logits, every.kind).mean()) for logits in every.logits]
    return told


def _leaving(every: EveryExit, policies: Sequence[Policy]) -> list[tuple[Policy, np.ndarray]]:
    return list(zip(policies, every.leaving(policies), strict=True))


def _point(found: ExitScores, answers: np.ndarray, text: str, exits: np.ndarray) -> dict[str, Any]:
    counts = exit_counts(exits, len(found.every.layers))
    return {
        "policy": text,
        "saving": expected_saving(counts, found.every.layers),
        "score": found.at(answers, exits).value,
        "counts": [int(one) for one in counts],
    }


def spread(curve: Sequence[dict[str, Any]], count: int) -> list[str]:
    """Return the policies of a few points of a curve, apart by what they save."""
    wanted = np.linspace(0, max(one["saving"] for one in curve), count + 1)[1:]
    near = [min(curve, key=lambda one: abs(one["saving"] - share)) for share in wanted]
    return list(dict.fromkeys(str(one["policy"]) for one in near if one["saving"] > 0))

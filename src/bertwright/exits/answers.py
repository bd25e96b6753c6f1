"""What every exit answers on some rows: the arrays that thresholds, curves and figures are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bertwright.errors import InputError
from bertwright.exits.policies import Policy, leaving
from bertwright.tasks.metrics import decide


@dataclass(frozen=True)
class EveryExit:
    """The logits (E, n, C) of E exits on n rows, the tuned classifier's last; ``layers`` (E,) run before each, rising.

    ``scores`` (E - 1, n) are the ramps' learned scores of being right, where they have some.
    """

    kind: str
    layers: tuple[int, ...]
    logits: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together, and no rows."""
        if self.logits.ndim != 3 or len(self.logits) != len(self.layers):
            raise InputError(
                f"logits of every exit have the shape {self.logits.shape}; expected (E, n, C) with E = "
                f"{len(self.layers)}, one for each exit"
            )
        if list(self.layers) != sorted(set(self.layers)) or not self.layers or self.layers[0] < 1:
            raise InputError(f"exits after the layers {self.layers}: expected rising numbers from 1 on")
        if self.logits.shape[1] == 0:
            raise InputError("there are 0 rows; give rows with labels that took part in no training")
        ramps = (len(self.layers) - 1, self.logits.shape[1])
        if self.scores is not None and self.scores.shape != ramps:
            raise InputError(f"learned scores have the shape {self.scores.shape}; expected {ramps}, ramps by rows")

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return int(self.logits.shape[1])

    @property
    def depth(self) -> int:
        """Return the layers of the whole model."""
        return self.layers[-1]

    def leaving(self, policies: Sequence[Policy]) -> np.ndarray:
        """Return at which exit each row leaves under each policy, (G, n), from 0; ``InputError`` where one misfits."""
        for policy in policies:
            policy.check(len(self.layers) - 1, self.logits.shape[2], scored=self.scores is not None)
        return leaving(policies, self.logits[:-1], self.scores)

    def answers(self) -> np.ndarray:
        """Return what each exit answers, (E, n) or (E, n, C); ``Diverged`` where a logit is not finite."""
        return np.stack([decide(one, self.kind) for one in self.logits])


def taken(answers: np.ndarray, exits: np.ndarray) -> np.ndarray:
    """Return each row's answer at its exit: (E, n, ...) and exits (n,) give (n, ...)."""
    return np.asarray(answers[exits, np.arange(answers.shape[1])])

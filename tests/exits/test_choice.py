"""Thresholds chosen by the score on some rows, as papers do."""

from __future__ import annotations

import numpy as np
import pytest

from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit, taken
from bertwright.exits.calibration import candidates
from bertwright.exits.choice import by_score


def made() -> tuple[EveryExit, np.ndarray]:
    """Ten rows, one ramp after the first of two layers: it is surer of row i than of i + 1, and wrong from row 6 on."""
    gold = np.array([0, 1] * 5)
    size = np.linspace(4, 0.4, 10)
    right = np.where(np.arange(10) < 6, 1, -1)
    ramp = np.stack([size, -size], axis=1) * (np.where(gold == 0, 1, -1) * right)[:, None]
    last = np.stack([np.where(gold == 0, 3.0, -3.0), np.where(gold == 0, -3.0, 3.0)], axis=1)
    return EveryExit("classification", (1, 2), np.stack([ramp, last]).astype(np.float32)), gold


def chosen(max_drop: float, none: bool = False) -> tuple[float, str, tuple[int, ...]]:
    """Return saving, sentence and counts of what is chosen."""
    every, gold = made()
    answers = every.answers()

    def score(exits: np.ndarray) -> float | None:
        return None if none else float((taken(answers, exits) == gold).mean())

    policies = candidates("entropy", "classification", ramps=1, classes=2)
    found = by_score(every, policies, score, metric="accuracy", max_drop=max_drop, delta=0.05)
    assert "by-score" == found.basis
    return found.saving, found.sentence, found.counts


def test_the_most_is_saved_within_the_drop() -> None:
    """Six rows leave where nothing may be lost, seven where a tenth may; a saving is half of what leaves."""
    saving, sentence, counts = chosen(0.001)
    assert (0.3, (6, 4)) == (pytest.approx(saving), counts)
    assert "accuracy went from 1.0000 to 1.0000 on the 10 rows that chose it" in sentence
    saving, sentence, counts = chosen(0.1001)
    assert (0.35, (7, 3)) == (pytest.approx(saving), counts)
    assert sentence.endswith("Nothing is promised of other rows.")


def test_a_score_that_is_not_defined_is_refused() -> None:
    """There is nothing to hold against."""
    with pytest.raises(InputError, match="accuracy is undefined on the calibration rows"):
        chosen(0.1, none=True)

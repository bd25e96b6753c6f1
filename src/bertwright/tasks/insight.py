"""A closer look at one variant's answers on a set: how sure they are, what is taken for what, which rows are hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import scipy.special

from bertwright.tasks.calibration import calibration
from bertwright.tasks.mistakes import Mistake, confusion, often_wrong
from bertwright.tasks.scoring import ScoredSet

_MOST_CLASSES = 60  # of a table that a person can read
_LONGEST = 240  # characters of a text that are told


def insight(one: ScoredSet, logits: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return calibration, confusion and the rows most often wrong, over all seeds' logits (n, C) and answers.

    Empty for numbers, and for sets whose labels are not the model's own.
    """
    if one.kind == "regression" or one.places is not None:
        return {}
    pooled = calibration(np.concatenate(logits), np.concatenate([one.gold] * len(logits)), one.kind)
    errors = [found.error for each in logits if (found := calibration(each, one.gold, one.kind)) is not None]
    if pooled is None:
        return {}
    told: dict[str, Any] = {
        "calibration": {"errors": errors, "error": float(np.mean(errors)), "bins": [asdict(b) for b in pooled.bins]}
    }
    if one.kind == "classification" and one.names is not None:
        if len(one.names) <= _MOST_CLASSES:
            told["confusion"] = confusion(one.gold, answers, len(one.names)).round(2).tolist()
        chances = [scipy.special.softmax(each, axis=-1) for each in logits]
        told["often_wrong"] = [_told(one, mistake) for mistake in often_wrong(one.gold, chances)]
    return told


def _told(one: ScoredSet, mistake: Mistake) -> dict[str, Any]:
    """Return a row with its words: id, texts, the gold label, how many seeds were wrong, and what they said."""
    names = one.names or ()
    texts = [text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…" for text in one.rows.texts[mistake.row]]
    return {
        "id": one.rows.ids[mistake.row],
        "text": texts,
        "gold": names[int(one.gold[mistake.row])],
        "wrong": mistake.wrong,
        "of": len(mistake.answers),
        "chance": round(mistake.chance, 4),
        "said": sorted({names[answer] for answer in mistake.answers if answer != one.gold[mistake.row]}),
    }

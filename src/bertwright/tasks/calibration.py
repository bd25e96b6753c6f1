"""Whether a model is as sure as it is right: expected calibration error, and the bins of a reliability plot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special

_BINS = 15


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence lies in one part of 0..1: how many, their mean confidence, and their share right."""

    count: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error (Guo et al. 2017, equation 3) and the bins that hold answers, lowest first."""

    error: float
    bins: tuple[Bin, ...]


def calibration(logits: np.ndarray, gold: np.ndarray, kind: str) -> Calibration | None:
    """Compare confidence and correctness of answers; ``None`` for a regression, which has no confidence.

    ``logits`` (n, C) with ``gold`` class numbers (n,), or 0 and 1 (n, C) for multi-label, where each label of each row
    is an answer of its own. Fifteen bins of equal width.
    """
    if kind == "regression" or not len(gold):
        return None
    confidence, right = _answers(logits.astype(np.float64), gold, kind)
    place = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(place, minlength=_BINS)
    sure = np.bincount(place, weights=confidence, minlength=_BINS) / np.maximum(counts, 1)
    correct = np.bincount(place, weights=right, minlength=_BINS) / np.maximum(counts, 1)
    error = float((counts * np.abs(correct - sure)).sum() / counts.sum())
    bins = [Bin(int(n), float(s), float(c)) for n, s, c in zip(counts, sure, correct, strict=True) if n]
    return Calibration(error, tuple(bins))


def confidences(logits: np.ndarray, kind: str) -> np.ndarray:
    """Return the probability of each answer given, (n,), or (n, C) for multi-label."""
    if kind == "multi-label":
        chance = scipy.special.expit(logits)
        return np.asarray(np.maximum(chance, 1 - chance))
    return np.asarray(scipy.special.softmax(logits, axis=-1).max(axis=-1))


def _answers(logits: np.ndarray, gold: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidence of each answer, flat, and whether it is right."""
    given = (logits > 0) if kind == "multi-label" else logits.argmax(axis=-1)
    return confidences(logits, kind).ravel(), (given == gold).astype(np.float64).ravel()

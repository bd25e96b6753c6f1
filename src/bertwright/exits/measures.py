"""How sure an exit is of its answer, from its logits: entropy and confidence, of many rows or of one.

Shapes: C classes.
"""

from __future__ import annotations

import math

import numpy as np

# Stands for a logit that overflowed; twice of it is still an fp32 number.
_HUGE = 1e30


def entropy(logits: np.ndarray, kind: str = "classification") -> np.ndarray:
    """Return the entropy of each row's answer in nats, fp32: (..., C) to (...).

    From log-softmax: H = ln sum exp x - sum x exp x / sum exp x with the largest x at 0, so that nothing overflows and
    a sure row has 0, not NaN (DeeBERT's code has both faults). Of several labels it is the mean of the labels' binary
    entropies. A row that holds a NaN counts as knowing nothing.
    """
    x = _numbers(logits)
    if kind == "multi-label":
        size = np.abs(x)
        odds = np.exp(-size)
        return np.asarray((np.log1p(odds) + size * odds / (1 + odds)).mean(axis=-1))
    x = x - x.max(axis=-1, keepdims=True)
    weights = np.exp(x)
    total = weights.sum(axis=-1)
    return np.asarray(np.log(total) - (x * weights).sum(axis=-1) / total)


def confidence(logits: np.ndarray, kind: str = "classification") -> np.ndarray:
    """Return the probability of each row's answer, fp32: (..., C) to (...); of several labels, the least sure one's."""
    x = _numbers(logits)
    if kind == "multi-label":
        return np.asarray(1 / (1 + np.exp(-np.abs(x).min(axis=-1))))
    return np.asarray(1 / np.exp(x - x.max(axis=-1, keepdims=True)).sum(axis=-1))


def entropy_alone(row: list[float], kind: str) -> float:
    """Return ``entropy`` of one row of finite logits."""
    if kind == "multi-label":
        odds = [(abs(x), math.exp(-abs(x))) for x in row]
        return sum(math.log1p(odd) + size * odd / (1 + odd) for size, odd in odds) / len(row)
    top, total, mixed = max(row), 0.0, 0.0
    for x in row:
        weight = math.exp(x - top)
        total += weight
        mixed += weight * (x - top)
    return math.log(total) - mixed / total


def confidence_alone(row: list[float], kind: str) -> float:
    """Return ``confidence`` of one row of finite logits."""
    if kind == "multi-label":
        return 1 / (1 + math.exp(-min(abs(x) for x in row)))
    top = max(row)
    return 1 / sum(math.exp(x - top) for x in row)


def _numbers(logits: np.ndarray) -> np.ndarray:
    """Return logits in fp32 without infinities; a row with a NaN becomes zeros."""
    x = np.asarray(logits, dtype=np.float32)
    if np.isfinite(x).all():
        return x
    unknown = np.isnan(x).any(axis=-1, keepdims=True)
    return np.asarray(np.nan_to_num(np.where(unknown, np.float32(0), x), posinf=_HUGE, neginf=-_HUGE))


def most_entropy(classes: int, kind: str) -> float:
    """Return the entropy of knowing nothing, in nats."""
    return math.log(2 if kind == "multi-label" else max(classes, 2))


def least_confidence(classes: int, kind: str) -> float:
    """Return the confidence of knowing nothing."""
    return 0.5 if kind == "multi-label" else 1 / max(classes, 2)

"""Metrics of answers against gold labels. What is undefined is said to be undefined, never 0 and never NaN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats

from bertwright.errors import Diverged
from bertwright.tasks.merging import NOWHERE


@dataclass(frozen=True)
class Score:
    """A value, or ``None`` with the reason why it is undefined."""

    value: float | None
    note: str | None = None


@dataclass(frozen=True)
class Metric:
    """How a metric is computed from gold labels and predictions (and the positive class), and for which kinds.

    One that is ``of_documents`` is given a row for each document: the union of the labels of its rows. Scores lie
    between ``least`` and 1.
    """

    kinds: tuple[str, ...]
    compute: Callable[[np.ndarray, np.ndarray, int | None], Score]
    sentence: str
    of_documents: bool = False
    least: float = 0.0


def _accuracy(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    return Score(float(np.mean(gold == predicted)))


def _f1(gold: np.ndarray, predicted: np.ndarray, positive: int | None) -> Score:
    true = int(np.sum((gold == positive) & (predicted == positive)))
    predicted_positives, gold_positives = int(np.sum(predicted == positive)), int(np.sum(gold == positive))
    if predicted_positives + gold_positives == 0:
        return Score(None, "no row has the positive label and none was predicted")
    return Score(2 * true / (predicted_positives + gold_positives))


def _confusion(gold: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that occur in either, (C,), rising, and the rows by gold and by predicted class, (C, C)."""
    classes, places = np.unique(np.concatenate([gold, predicted]), return_inverse=True)
    size = len(classes)
    pairs = places[: len(gold)] * size + places[len(gold) :]
    return classes, np.bincount(pairs, minlength=size * size).reshape(size, size)


def _macro_f1(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    # Counted here, not by scikit-learn: a bootstrap asks thousands of times, and its checks cost most of the time.
    if gold.ndim == 2:
        true, either = (gold * predicted).sum(axis=0), gold.sum(axis=0) + predicted.sum(axis=0)
    else:
        classes, counts = _confusion(gold, predicted)
        known = classes != NOWHERE
        true, either = counts.diagonal()[known], (counts.sum(axis=0) + counts.sum(axis=1))[known]
    idle = int(np.sum(either == 0))
    note = f"{idle} label(s) in no row and never predicted: their F1 is undefined and counts as 0" if idle else None
    return Score(float(np.mean(2 * true / np.maximum(either, 1))), note)


def _micro_f1(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    true, both = float(np.sum(gold * predicted)), float(gold.sum() + predicted.sum())
    return Score(2 * true / both) if both else Score(None, "no row has a label and none was predicted")


def _matthews(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    if len(np.unique(gold)) < 2:
        return Score(None, "the set holds one class only")
    if len(np.unique(predicted)) < 2:
        return Score(0.0, "every row got the same answer: the correlation is undefined and counts as 0")
    # The correlation of two assignments to C classes (Gorodkin 2004); with two classes, Matthews' own.
    counts = _confusion(gold, predicted)[1].astype(np.float64)
    rows, gold_counts, predicted_counts = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    spread = (rows**2 - gold_counts @ gold_counts) * (rows**2 - predicted_counts @ predicted_counts)
    return Score(float((counts.trace() * rows - gold_counts @ predicted_counts) / np.sqrt(spread)))


def _pearson(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    for values, name in ((gold, "gold scores"), (predicted, "predictions")):
        if not np.isfinite(values).all():
            return Score(None, f"some {name} are not finite numbers: the correlation is undefined")
        if len(values) < 2 or np.ptp(values) == 0:
            return Score(None, f"all {name} are equal: the correlation is undefined")
    return Score(float(np.corrcoef(gold.astype(np.float64), predicted.astype(np.float64))[0, 1]))


def _spearman(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    # Ranks of values that are not finite would look like any others, so those are refused before ranking.
    if not (np.isfinite(gold).all() and np.isfinite(predicted).all()):
        return _pearson(gold, predicted, None)
    return _pearson(scipy.stats.rankdata(gold), scipy.stats.rankdata(predicted), None)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(("classification",), _accuracy, "share of rows answered right"),
    "f1": Metric(("classification",), _f1, "F1 of the positive label"),
    "macro_f1": Metric(("classification", "multi-label"), _macro_f1, "mean of the labels' F1"),
    "micro_f1": Metric(("multi-label",), _micro_f1, "F1 over all pairs of row and label"),
    "document_micro_f1": Metric(("multi-label",), _micro_f1, "F1 over all pairs of document and label", True),
    "matthews": Metric(("classification",), _matthews, "Matthews correlation", least=-1.0),
    "pearson": Metric(("regression",), _pearson, "Pearson correlation", least=-1.0),
    "spearman": Metric(("regression",), _spearman, "Spearman rank correlation", least=-1.0),
}


def decide(logits: np.ndarray, kind: str) -> np.ndarray:
    """Return answers for logits (n, C): class numbers (n,), 0 or 1 for each label (n, C), or numbers (n,).

    ``Diverged`` where a logit is not finite: arg-max would turn it into an answer like any other.
    """
    broken = int(np.sum(~np.isfinite(logits).all(axis=-1)))
    if broken:
        raise Diverged(
            f"the model gave numbers that are not finite for {broken} of {len(logits)} rows, expected finite logits; "
            "train it again with a lower learning rate, or with `system.precision=fp32`"
        )
    if kind == "classification":
        return np.asarray(logits.argmax(axis=-1))
    # A label is given where its probability is above one half.
    return (logits > 0).astype(np.float32) if kind == "multi-label" else logits[:, 0]


def floor(gold: np.ndarray, kind: str, metric: str, positive: int | None) -> Score:
    """Return the score of the best constant answer of a simple kind: majority class, all labels, or the mean."""
    if kind == "classification":
        values, counts = np.unique(gold, return_counts=True)
        constants = [values[counts.argmax()]] + ([positive] if metric == "f1" else [])
        scores = [METRICS[metric].compute(gold, np.full_like(gold, c), positive) for c in constants]
        return max(scores, key=lambda score: -1.0 if score.value is None else score.value)
    constant = np.ones_like(gold) if kind == "multi-label" else np.full_like(gold, gold.mean())
    return METRICS[metric].compute(gold, constant, positive)

"""Metrics of answers against gold labels. What is undefined is said to be undefined, never 0 and never NaN."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats
import sklearn.metrics


@dataclass(frozen=True)
class Score:
    """A value, or ``None`` with the reason why it is undefined."""

    value: float | None
    note: str | None = None


@dataclass(frozen=True)
class Metric:
    """How a metric is computed from gold labels and predictions (and the positive class), and for which kinds."""

    kinds: tuple[str, ...]
    compute: Callable[[np.ndarray, np.ndarray, int | None], Score]
    sentence: str


def _accuracy(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    return Score(float(np.mean(gold == predicted)))


def _f1(gold: np.ndarray, predicted: np.ndarray, positive: int | None) -> Score:
    true = int(np.sum((gold == positive) & (predicted == positive)))
    found, there = int(np.sum(predicted == positive)), int(np.sum(gold == positive))
    if found + there == 0:
        return Score(None, "no row has the positive label and none was predicted")
    return Score(2 * true / (found + there))


def _macro_f1(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    return Score(float(sklearn.metrics.f1_score(gold, predicted, average="macro", zero_division=0.0)))


def _micro_f1(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    true, both = float(np.sum(gold * predicted)), float(gold.sum() + predicted.sum())
    return Score(2 * true / both) if both else Score(None, "no row has a label and none was predicted")


def _matthews(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
    if len(np.unique(gold)) < 2:
        return Score(None, "the set holds one class only")
    if len(np.unique(predicted)) < 2:
        return Score(0.0, "every row got the same answer: the correlation is undefined and counts as 0")
    return Score(float(sklearn.metrics.matthews_corrcoef(gold, predicted)))


def _correlation(compute: Callable[[np.ndarray, np.ndarray], float]) -> Callable[..., Score]:
    def score(gold: np.ndarray, predicted: np.ndarray, _: int | None) -> Score:
        for values, name in ((gold, "gold scores"), (predicted, "predictions")):
            if len(values) < 2 or np.ptp(values) == 0:
                return Score(None, f"all {name} are equal: the correlation is undefined")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
            return Score(float(compute(gold, predicted)))

    return score


METRICS: dict[str, Metric] = {
    "accuracy": Metric(("classification",), _accuracy, "share of rows answered right"),
    "f1": Metric(("classification",), _f1, "F1 of the positive label"),
    "macro_f1": Metric(("classification", "multi-label"), _macro_f1, "mean of the labels' F1"),
    "micro_f1": Metric(("multi-label",), _micro_f1, "F1 over all pairs of row and label"),
    "matthews": Metric(("classification",), _matthews, "Matthews correlation"),
    "pearson": Metric(("regression",), _correlation(lambda a, b: scipy.stats.pearsonr(a, b)[0]), "Pearson correlation"),
    "spearman": Metric(
        ("regression",), _correlation(lambda a, b: scipy.stats.spearmanr(a, b)[0]), "Spearman rank correlation"
    ),
}


def decide(logits: np.ndarray, kind: str) -> np.ndarray:
    """Return answers for logits (n, C): class numbers (n,), 0 or 1 for each label (n, C), or numbers (n,)."""
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

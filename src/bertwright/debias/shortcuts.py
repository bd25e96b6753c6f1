"""The shortcut finder: before any training, which features of the input give the label away alone.

Shapes: n rows, F features, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.stats

from bertwright.debias.experts import folds
from bertwright.debias.features import Feature, Features, features
from bertwright.debias.intervals import wilson
from bertwright.errors import DataError, InputError

Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]

_LEAST_EXPECTED = 5  # rows with a label, and without it, that a chi-square test needs to hold
_FOLDS = 5
CORRECTIONS: Mapping[str, Literal["bh"] | None] = {"benjamini-hochberg": "bh", "bonferroni": None}


@dataclass(frozen=True)
class Shortcut:
    """A feature that raises a label's share: of ``rows`` with it, ``share`` have the label, against ``base`` of all.

    ``interval`` is Wilson's, 95 %, for this feature alone; ``p`` is of Pearson's chi-square test, corrected for all
    tests of the search. ``excess`` is the share of all rows that "whoever has the feature has the label" gets right
    beyond the base rate, by the interval's low end: what shortcuts are sorted by.
    """

    feature: Feature
    label: str
    rows: int
    share: float
    interval: tuple[float, float]
    base: float
    p: float
    excess: float

    def __str__(self) -> str:
        """Say it in a line."""
        name, low, high = self.feature, 100 * self.interval[0], 100 * self.interval[1]
        return (
            f"{name.column}: {name.kind} {name.text!r} -> {self.label} in {100 * self.share:.1f} % of {self.rows:,} "
            f"rows [{low:.1f}, {high:.1f}], base rate {100 * self.base:.1f} %"
        )


@dataclass(frozen=True)
class Alone:
    """How well a part of the input answers alone: cross-fitted naive Bayes over its features, with Wilson's interval.

    ``part`` is a column; or, of all columns joined by " + ", how they go together, without any word of theirs.
    """

    part: str
    accuracy: float
    interval: tuple[float, float]
    features: int


@dataclass(frozen=True)
class Found:
    """What a search found: shortcuts, the strongest first; each part of the input alone, the best first; advice.

    ``tests`` is how many tests the p-values were corrected for; ``untested`` features were too rare for one.
    """

    rows: int
    majority: float
    tests: int
    untested: int
    shortcuts: tuple[Shortcut, ...]
    alone: tuple[Alone, ...]
    advice: str


def find(
    texts: Sequence[tuple[str, ...]],
    labels: Sequence[str],
    columns: Sequence[str],
    *,
    least: int | None = None,
    level: float = 0.05,
    correction: str = "benjamini-hochberg",
) -> Found:
    """Search a training set, one label a row, for shortcuts.

    Features that fewer than ``least`` rows have are not looked at (one row in a thousand by default, 20 at least);
    ``level`` bounds the false discovery rate, or with "bonferroni" the chance of any false one.
    """
    _check(texts, labels, columns, level, correction)
    least = max(20, len(texts) // 1000) if least is None else least
    names, gold = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"found the label {str(names[0])!r} in all {len(labels):,} rows; there is nothing to give away")
    known = features(texts, columns, least=least)
    shortcuts, tests, untested = _tested(known, gold, tuple(names.tolist()), level, correction)
    majority = float(np.bincount(gold).max() / len(gold))
    alone = _alone(known, texts, gold, columns)
    return Found(len(texts), majority, tests, untested, shortcuts, alone, _advice(alone, majority, shortcuts, columns))


def _check(
    texts: Sequence[tuple[str, ...]], labels: Sequence[str], columns: Sequence[str], level: float, correction: str
) -> None:
    if correction not in CORRECTIONS:
        raise InputError(f"correction: found {correction!r}, expected one of {', '.join(CORRECTIONS)}")
    if not 0 < level < 1:
        raise InputError(f"level: found {level!r}, expected a share between 0 and 1, such as 0.05")
    if len(texts) != len(labels) or len(texts) < 2 * _FOLDS:
        raise DataError(
            f"found {len(texts):,} rows and {len(labels):,} labels; expected {2 * _FOLDS} rows or more, each with one"
        )
    if len(texts[0]) != len(columns):
        raise InputError(f"found rows of {len(texts[0])} texts and {len(columns)} names for them; name each column")


def _tested(
    known: Features, gold: Whole, names: tuple[str, ...], level: float, correction: str
) -> tuple[tuple[Shortcut, ...], int, int]:
    """Test each feature against each label, and keep those that raise a label's share."""
    size = len(names)
    counts = np.bincount(known.feature * size + gold[known.row], minlength=len(known.names) * size)
    with_label = counts.reshape(-1, size).astype(np.float64)  # (F, C)
    rows = with_label.sum(axis=1, keepdims=True)
    base = np.bincount(gold, minlength=size) / len(gold)
    # In the two by two table of feature and label, expected counts are least where the smaller margins meet.
    smaller = np.minimum(rows, len(gold) - rows)
    tested = smaller * np.minimum(base, 1 - base) >= _LEAST_EXPECTED
    untested = int((~tested.any(axis=1)).sum())
    p = np.ones_like(with_label)
    p[tested] = _corrected(_chi_square(with_label, rows, base, len(gold))[tested], correction)
    low, high = wilson(with_label, np.broadcast_to(rows, with_label.shape))
    excess = (low - base) * rows / len(gold)
    kept = np.argwhere(tested & (p < level) & (excess > 0))
    order = np.argsort(-excess[tuple(kept.T)], kind="stable")
    found = tuple(
        Shortcut(
            known.names[f],
            names[c],
            int(rows[f, 0]),
            float(with_label[f, c] / rows[f, 0]),
            (float(low[f, c]), float(high[f, c])),
            float(base[c]),
            float(p[f, c]),
            float(excess[f, c]),
        )
        for f, c in kept[order].tolist()
    )
    return found, int(tested.sum()), untested


def _chi_square(with_label: Real, rows: Real, base: Real, total: int) -> Real:
    """Return p of Pearson's chi-square test, one degree of freedom, of feature and label, (F, C)."""
    expected = rows * base
    spread = rows * (1 - rows / total) * base * (1 - base)
    statistic = np.divide((with_label - expected) ** 2, spread, out=np.zeros_like(with_label), where=spread > 0)
    return np.asarray(scipy.stats.chi2.sf(statistic, 1))


def _corrected(p: Real, correction: str) -> Real:
    method = CORRECTIONS[correction]
    if not len(p):
        return p
    if method is None:
        return np.minimum(p * len(p), 1.0)
    return np.asarray(scipy.stats.false_discovery_control(p, method=method))


def _alone(known: Features, texts: Sequence[tuple[str, ...]], gold: Whole, columns: Sequence[str]) -> tuple[Alone, ...]:
    """Let each column, and how they go together, answer by itself."""
    ids = [str(row) for row in range(known.rows)]
    of = np.array([columns.index(name.column) if name.column in columns else len(columns) for name in known.names])
    parts = [*columns, *([" + ".join(columns)] if len(columns) > 1 else [])]
    found = []
    for place, name in enumerate(parts):
        own = of == place
        if not own.any() or (place < len(columns) and len({row[place] for row in texts}) < _FOLDS):
            continue
        # A text that comes in several rows would tell a fold its labels: SNLI's premises have one of each.
        groups = [row[place] for row in texts] if place < len(columns) else None
        fold = folds(ids, gold, _FOLDS, seed=0, groups=groups)
        right = int((_answers(known, own, gold, fold) == gold).sum())
        low, high = (float(side) for side in wilson(np.array(right), np.array(known.rows)))
        found.append(Alone(name, right / known.rows, (low, high), int(own.sum())))
    return tuple(sorted(found, key=lambda one: -one.accuracy))


def _answers(known: Features, own: npt.NDArray[np.bool_], gold: Whole, fold: Whole) -> Whole:
    """Answer each row by naive Bayes over some features, (n,), with counts of the other folds (add one, Bernoulli)."""
    size, some = int(gold.max()) + 1, int(own.sum())
    number = np.cumsum(own) - 1
    kept = own[known.feature]
    row, feature = known.row[kept], number[known.feature[kept]]
    cells = (fold[row] * some + feature) * size + gold[row]
    per_fold = np.bincount(cells, minlength=_FOLDS * some * size).reshape(_FOLDS, some, size).astype(np.float64)
    of_label = np.bincount(fold * size + gold, minlength=_FOLDS * size).reshape(_FOLDS, 1, size).astype(np.float64)
    others, labels = per_fold.sum(axis=0) - per_fold, of_label.sum(axis=0) - of_label
    chance = (others + 1) / (labels + 2)  # (folds, F, C)
    absent = np.log1p(-chance)
    there = np.log(chance) - absent
    prior = np.log(labels + 1) + absent.sum(axis=1, keepdims=True)  # (folds, 1, C)
    scores = np.stack(
        [np.bincount(row, weights=there[fold[row], feature, label], minlength=known.rows) for label in range(size)],
        axis=1,
    )
    return np.asarray((scores + prior[fold, 0]).argmax(axis=1))


def _advice(alone: Sequence[Alone], majority: float, shortcuts: Sequence[Shortcut], columns: Sequence[str]) -> str:
    """Say which expert fits, in a sentence."""
    clear = [one for one in alone if one.interval[0] > majority]
    if not clear:
        return (
            f"No part of the input answers clearly better alone than the largest class ({100 * majority:.1f} %): no "
            "expert of these kinds fits. A small model fitted on few rows may still find what this search does not see."
        )
    best = clear[0]
    figures = (
        f"alone answers {100 * best.accuracy:.1f} % of rows [{100 * best.interval[0]:.1f}, "
        f"{100 * best.interval[1]:.1f}], and the largest class is {100 * majority:.1f} %"
    )
    together = best.part not in columns
    own = (
        one for one in shortcuts if (one.feature.column not in columns if together else one.feature.column == best.part)
    )
    strongest = next(own, None)
    told = f" Its strongest feature: {strongest}." if strongest is not None else ""
    if together:
        return f"How the columns go together (overlap, length, negation) {figures}: an overlap expert fits.{told}"
    kind = f"a {best.part}-only expert" if len(alone) > 1 else "an expert fitted on few rows"
    return f"The column {best.part} {figures}: {kind} fits.{told}"

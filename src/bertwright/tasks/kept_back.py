"""Training rows that take part in nothing but the choice of exit thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bertwright.tasks.holdout import hold_out

_SEED = 0x45786974


def kept_back(labels: Sequence[str | float | tuple[str, ...]], kind: str, share: float) -> tuple[list[int], list[int]]:
    """Return the numbers of the rows to learn from and of those kept back, always the same ones.

    It is a hold-out of its own, before any other: what is kept back here no search and no expert sees.
    """
    learnt, kept = hold_out(_numbers(labels, kind), kind, share=share, seed=_SEED)
    return learnt.tolist(), kept.tolist()


def _numbers(labels: Sequence[str | float | tuple[str, ...]], kind: str) -> np.ndarray:
    """Return labels as numbers, (n,), or (n, C) of several a row: enough to deal rows by them."""
    if kind == "regression":
        return np.array(labels, dtype=np.float64)
    if kind == "classification":
        return np.unique([str(label) for label in labels], return_inverse=True)[1]
    each = [label if isinstance(label, tuple) else (str(label),) for label in labels]
    place = {name: number for number, name in enumerate(sorted({name for row in each for name in row}))}
    found = np.zeros((len(each), len(place)))
    for row, names in enumerate(each):
        found[row, [place[name] for name in names]] = 1
    return found

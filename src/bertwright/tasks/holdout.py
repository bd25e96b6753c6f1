"""Rows kept back from a training set, to choose a setting on."""

from __future__ import annotations

import numpy as np

_LEAST = 200


def hold_out(labels: np.ndarray, kind: str, *, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to learn from and of those kept back, each in order.

    ``share`` of the rows are kept back, at least 200 where that leaves half of them. Each class gives its share; rows
    of several labels are dealt by their rarest one, numbers by their order of size. A class with one row stays with
    those that are learnt from.
    """
    count = len(labels)
    wanted = min(max(round(share * count), _LEAST), count // 2)
    generator = np.random.Generator(np.random.Philox(key=[seed, 0x486F6C64]))
    order = generator.permutation(count)
    # Rows of one class side by side, in drawn order: every so-many-th of them is kept back.
    dealt = order[np.argsort(_strata(labels, kind)[order], kind="stable")]
    places = ((np.arange(wanted) + generator.random()) * count / max(wanted, 1)).astype(np.int64)
    chosen = np.zeros(count, dtype=bool)
    chosen[dealt[places]] = True
    if kind != "regression":
        chosen &= ~_only_ones(labels, kind, chosen)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _only_ones(labels: np.ndarray, kind: str, chosen: np.ndarray) -> np.ndarray:
    """Return which rows, (n,), have a label that no row has which is not chosen."""
    if kind == "multi-label":
        lost = (labels > 0).any(axis=0) & ~(labels[~chosen] > 0).any(axis=0)
        return np.asarray((labels[:, lost] > 0).any(axis=1))
    classes = np.asarray(labels, dtype=np.int64)
    return np.asarray(np.bincount(classes, weights=~chosen)[classes] == 0)


def _strata(labels: np.ndarray, kind: str) -> np.ndarray:
    """Return a class for each row, (n,), counted from 0."""
    if kind == "classification":
        return np.asarray(labels, dtype=np.int64)
    if kind == "multi-label":
        often = labels.sum(axis=0)
        rare_first = np.argsort(often, kind="stable")
        found = labels[:, rare_first].argmax(axis=1)
        return np.asarray(np.where(labels.any(axis=1), found, labels.shape[1]), dtype=np.int64)
    ranks: np.ndarray = np.argsort(np.argsort(labels, kind="stable"), kind="stable")
    return ranks

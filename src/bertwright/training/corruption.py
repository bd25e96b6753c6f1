"""Masking for masked language modelling: drawn by (seed, epoch, row, position), without a loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bertwright.text.shuffle import GOLDEN, mix

_U64 = np.uint64


@dataclass(frozen=True)
class Masked:
    """Corrupted ids (n, T), flat positions into n*T to predict (M,), and the ids that stood there (M,)."""

    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray


def mask_tokens(
    ids: np.ndarray,
    *,
    rows: np.ndarray,
    epochs: np.ndarray,
    seed: int,
    rate: float,
    mask_id: int,
    special_ids: np.ndarray,
    vocabulary: int,
    inside: np.ndarray | None = None,
) -> Masked:
    """Choose tokens of ``ids`` (n, T) to predict: 80 % become the mask, 10 % a random ordinary token, 10 % stay.

    Each ordinary token is chosen with probability ``rate``; special tokens never are, and are never put in. ``rows``
    and ``epochs``, both (n,), name the rows: a row is corrupted alike in any batch of the same epoch. With ``inside``
    (vocabulary,), which pieces go on with a word, words are chosen whole; what a piece then becomes is drawn for each.
    """
    length = ids.shape[1]
    special = np.zeros(vocabulary, dtype=bool)
    special[special_ids] = True
    base = _mix(_mix(_U64(seed) + _U64(1), epochs.astype(_U64)), rows.astype(_U64))
    draws = _mix(base[:, None], np.arange(length, dtype=_U64)[None, :])
    chances = _unit(draws)
    if inside is not None:
        # Each piece takes the chance of its word's first one, or of the special token that it follows.
        begins = np.where(inside[ids], 0, np.arange(length))
        chances = np.take_along_axis(chances, np.maximum.accumulate(begins, axis=1), axis=1)
    chosen = (chances < rate) & ~special[ids]
    positions = np.flatnonzero(chosen)
    labels = ids.reshape(-1)[positions].astype(np.int64)
    again = _mix(draws.reshape(-1)[positions], _U64(1))
    which = _unit(again)
    ordinary = np.flatnonzero(~special)
    random = ordinary[(_unit(_mix(again, _U64(2))) * len(ordinary)).astype(np.int64)]
    corrupted = ids.astype(np.int64)
    flat = corrupted.reshape(-1)
    flat[positions] = np.where(which < 0.8, mask_id, np.where(which < 0.9, random, labels))
    return Masked(corrupted, positions, labels)


def _mix(key: np.ndarray | np.uint64, number: np.ndarray | np.uint64) -> np.ndarray:
    """Hash a key with a number to 64 random bits: SplitMix64's number of that place, from the key as its state."""
    with np.errstate(over="ignore"):
        return mix(np.asarray(key + number * GOLDEN))


def _unit(bits: np.ndarray) -> np.ndarray:
    """Turn 64 random bits into a number in [0, 1)."""
    return (bits >> _U64(11)).astype(np.float64) * 2.0**-53

"""Whether new text leaves at the exits where the calibration rows left: a promise holds for such text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from bertwright.errors import InputError

_LEVEL = 0.001
_LEAST_EXPECTED = 5.0  # rows in a cell of the table, below which the test's distribution is not the chi-square
_LEAST_MOVED = 0.02  # share of rows: of a million rows the test sees what does not matter


@dataclass(frozen=True)
class Drift:
    """A G-test of two samples of exits: statistic, degrees of freedom, p-value, and the share of rows that moved.

    ``drifted`` warns: the p-value is below 0.001 and at least 2 % of rows leave elsewhere.
    """

    statistic: float
    freedom: int
    p_value: float
    moved: float
    drifted: bool
    sentence: str


def drift(calibrated: Sequence[int], found: Sequence[int]) -> Drift:
    """Compare how many rows left at each exit, (E,), on calibration rows and on new text.

    Exits where fewer than five rows are expected are taken together with the next (a likelihood-ratio chi-square test
    of homogeneity). ``InputError`` for no rows, or other exits.
    """
    table = np.array([calibrated, found], dtype=np.float64) if len(calibrated) == len(found) else np.zeros((2, 0))
    if table.shape[1] == 0:
        raise InputError(f"{len(found)} exits on new text, {len(calibrated)} in the calibration; expected the same")
    if (table.sum(axis=1) == 0).any():
        raise InputError("no row left at any exit, on new text or in the calibration; a drift check needs rows")
    shares = table / table.sum(axis=1, keepdims=True)
    moved = float(np.abs(shares[0] - shares[1]).sum() / 2)
    merged = _merged(table)
    statistic, p_value, freedom = 0.0, 1.0, merged.shape[1] - 1
    if freedom:
        test = scipy.stats.chi2_contingency(merged, correction=False, lambda_="log-likelihood")
        statistic, p_value = float(test.statistic), float(test.pvalue)
    drifted = p_value < _LEVEL and moved >= _LEAST_MOVED
    means = shares @ np.arange(1, table.shape[1] + 1)
    seen = (
        f"{100 * moved:.1f} % of {int(table[1].sum()):,} new rows leave elsewhere than the {int(table[0].sum()):,} "
        f"calibration rows did (mean exit {means[1]:.2f} of {table.shape[1]}, then {means[0]:.2f}; "
        f"G = {statistic:.1f}, {freedom} degrees of freedom, p {f'= {p_value:.2g}' if p_value else '< 1e-300'})"
    )
    said = (
        f"{seen}: this text is not like the calibration's, and what was promised of its loss may not hold; calibrate "
        "again on labelled rows of it"
        if drifted
        else f"{seen}: no sign that this text differs from the calibration's"
    )
    return Drift(statistic, freedom, p_value, moved, drifted, said)


def _merged(table: np.ndarray) -> np.ndarray:
    """Join neighbouring columns until each is expected to hold five rows in either sample, (2, K)."""
    expected = table.sum(axis=0) * (table.sum(axis=1).min() / table.sum())
    groups, room, columns = [], 0.0, []
    for column, size in enumerate(expected):
        columns.append(column)
        room += size
        if room >= _LEAST_EXPECTED:
            groups.append(columns)
            columns, room = [], 0.0
    if columns:
        groups = [*groups[:-1], [*groups[-1], *columns]] if groups else [columns]
    return np.stack([table[:, group].sum(axis=1) for group in groups], axis=1)

"""Intervals of a share of rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.stats

_LEVEL = 0.95

Numbers = npt.NDArray[np.floating | np.integer]


def wilson(right: Numbers, rows: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Wilson's 95 % interval (1927) of the share ``right / rows``; arrays of one shape, no rows are 0."""
    z = float(scipy.stats.norm.ppf((1 + _LEVEL) / 2))
    n = np.asarray(rows, dtype=np.float64)
    share = right / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)

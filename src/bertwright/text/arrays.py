"""Arrays as files of a folder that is still to be whole: written at once, or mapped and written by and by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files


def fill(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as NumPy's own kind of file."""
    with files.filling(path) as stream:
        np.save(stream, array)


def mapped(path: Path, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return so many zeros, mapped from a new file; ``StoreError`` where the disk has no room for them."""
    if not count:
        return np.empty(0, dtype=dtype)
    files.reserve(path, count * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype=dtype, mode="r+", shape=(count,))

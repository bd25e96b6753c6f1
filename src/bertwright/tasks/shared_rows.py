"""Rows of a set that were learnt from: scores on them flatter."""

from __future__ import annotations

import numpy as np

from bertwright.tasks.readers import Rows


def shared_note(train: Rows, rows: Rows) -> str | None:
    """Say how many rows of a set have the text of a training row, word for word, whatever their labels.

    ``None`` where none has. Texts are compared by hashes of 64 bits, which take 8 bytes a row.
    """
    shared = int(np.isin(_hashes(rows), _hashes(train)).sum())
    if not shared:
        return None
    return (
        f"{rows.path.name}: {shared:,} of {len(rows):,} row(s) have the text of a row of {train.path.name}, which "
        "flatters scores; take them out of one of the two files"
    )


def _hashes(rows: Rows) -> np.ndarray:
    return np.fromiter(map(hash, rows.texts), dtype=np.int64, count=len(rows))

"""Documents' ids to rows of one length: contiguous, nothing dropped, nothing repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.unsignedinteger]


class ContiguousRows:
    """Joins documents by [SEP] and cuts the stream into rows ``[CLS] piece [SEP]`` of T ids.

    All pieces are T - 2 ids long but the last one, whose row is padded. How the documents are handed in (one by one or
    many at once) does not change the rows.
    """

    def __init__(self, *, row_length: int, cls_id: int, sep_id: int, pad_id: int, dtype: npt.DTypeLike) -> None:
        self._piece = row_length - 2
        self._frame = np.full(row_length, pad_id, dtype=dtype)
        self._frame[0] = cls_id
        self._sep_id = sep_id
        self._joint = np.array([sep_id], dtype=dtype)
        self._rest: Ids = np.empty(0, dtype=dtype)
        self._begun = False

    def add(self, documents: Sequence[Ids]) -> Ids:
        """Take documents' ids and return the rows that are full now (B x T, B may be 0)."""
        parts = [self._rest]
        for document in documents:
            if self._begun:
                parts.append(self._joint)
            parts.append(document)
            self._begun = True
        stream = np.concatenate(parts)
        full = len(stream) // self._piece
        # A copy, so that the few ids left over do not keep the whole stream in memory.
        self._rest = stream[full * self._piece :].copy()
        return self._framed(stream[: full * self._piece].reshape(full, self._piece))

    def finish(self) -> Ids:
        """Return the last row, padded (1 x T), or none (0 x T) where the rows came out even."""
        last = self._rest[None] if len(self._rest) else self._rest.reshape(0, 0)
        self._rest = self._rest[:0]
        return self._framed(last)

    def _framed(self, pieces: Ids) -> Ids:
        rows = np.tile(self._frame, (len(pieces), 1))
        rows[:, 1 : 1 + pieces.shape[1]] = pieces
        if len(pieces):
            rows[:, 1 + pieces.shape[1]] = self._sep_id
        return rows

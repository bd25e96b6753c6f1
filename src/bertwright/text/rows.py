"""Documents' ids to rows of one length.

``contiguous``: documents are joined by [SEP] and the stream is cut into rows ``[CLS] piece [SEP]``; nothing is dropped
or repeated, and only the very last row is padded. ``packed``: each row holds whole documents,
``[CLS] a [SEP] b [SEP]``, padded at its end; a document too long for a row is cut into full rows and a rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.unsignedinteger[Any]]
Counts = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Frame:
    """What is around the text of a row: its length in ids, special tokens included, and their ids."""

    row_length: int
    cls_id: int
    sep_id: int
    pad_id: int

    @property
    def piece(self) -> int:
        """Ids of text in a full contiguous row."""
        return self.row_length - 2


def stream_of(ids: Ids, lengths: Counts, kept: npt.NDArray[np.bool_], sep_id: int) -> Ids:
    """Return the kept documents' ids with [SEP] behind each; documents without ids give nothing.

    ``ids`` (N,) are those of all documents, ``lengths`` and ``kept`` are (n,).
    """
    kept = kept & (lengths > 0)
    chosen = ids if kept.all() else ids[np.repeat(kept, lengths)]
    own = lengths[kept].astype(np.int64)
    stream = np.full(int(own.sum()) + len(own), sep_id, dtype=ids.dtype)
    text = np.ones(len(stream), dtype=bool)
    text[np.cumsum(own + 1) - 1] = False
    stream[text] = chosen
    return stream


def contiguous(stream: Ids, frame: Frame) -> Ids:
    """Cut a stream (N,) into rows, (B, T); the last one is padded where the stream does not come out even."""
    piece = frame.piece
    rows = np.full((-(-len(stream) // piece), frame.row_length), frame.pad_id, dtype=stream.dtype)
    rows[:, 0] = frame.cls_id
    full = len(stream) // piece
    rows[:full, 1:-1] = stream[: full * piece].reshape(full, piece)
    rows[:full, -1] = frame.sep_id
    if full < len(rows):
        rest = stream[full * piece :]
        rows[-1, 1 : 1 + len(rest)] = rest
        rows[-1, 1 + len(rest)] = frame.sep_id
    return rows


def packed(ids: Ids, lengths: Counts, kept: npt.NDArray[np.bool_], frame: Frame) -> Ids:
    """Lay whole documents into rows, (B, T), by best fit, longest first, in time linear in their number."""
    kept = kept & (lengths > 0)
    room = frame.row_length - 1  # behind [CLS]; each piece takes its ids and a [SEP]
    starts, sizes = _pieces(np.cumsum(lengths)[kept] - lengths[kept], lengths[kept].astype(np.int64), room - 1)
    bins = best_fit((sizes + 1).tolist(), room)
    rows = np.full((max(bins, default=-1) + 1, frame.row_length), frame.pad_id, dtype=ids.dtype)
    rows[:, 0] = frame.cls_id
    filled = np.ones(len(rows), dtype=np.int64)
    for start, size, place in zip(starts.tolist(), sizes.tolist(), bins, strict=True):
        at = filled[place]
        rows[place, at : at + size] = ids[start : start + size]
        rows[place, at + size] = frame.sep_id
        filled[place] += size + 1
    return rows


def _pieces(starts: Counts, sizes: Counts, most: int) -> tuple[Counts, Counts]:
    """Cut documents of more than ``most`` ids into pieces; return where each begins and its size."""
    counts = -(-sizes // most)
    of = np.repeat(np.arange(len(sizes)), counts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = starts[of] + number * most
    return begin, np.minimum(sizes[of] - number * most, most)


def best_fit(sizes: Sequence[int], room: int) -> list[int]:
    """Return the bin of each item: the longest items first, each into the open bin that it leaves least room in.

    Open bins are kept by the room they have left, and which rooms there are as the bits of one number: so the best bin
    is found in constant time.
    """
    order = np.argsort(-np.asarray(sizes, dtype=np.int64), kind="stable").tolist()
    open_bins: list[list[int]] = [[] for _ in range(room + 1)]
    there, count = 0, 0
    bins = [0] * len(sizes)
    for item in order:
        size = sizes[item]
        fitting = there >> size
        if fitting:
            left = size + (fitting & -fitting).bit_length() - 1
            place = open_bins[left].pop()
            if not open_bins[left]:
                there ^= 1 << left
        else:
            left, place, count = room, count, count + 1
        bins[item] = place
        left -= size
        if left > 1:  # less than one id and its [SEP] is no room
            open_bins[left].append(place)
            there |= 1 << left
    return bins

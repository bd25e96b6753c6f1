"""Rows of a task as token ids, and as batches of rows of like length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np

# Batches whose rows are sorted together: enough for rows of like length, few enough that order stays random.
_POOL = 50
# Of a text that is too long this many characters are encoded at first, for each token that there is room for.
_CHARACTERS, _FEWEST = 16, 1024
_SPACE = re.compile(r"[^\W_] ")  # behind a letter or digit

Piece = TypeVar("Piece")


class Encodes(Protocol):
    """What is asked of a tokenizer."""

    cls_id: int
    sep_id: int
    pad_id: int

    @property
    def words_apart(self) -> bool:
        """Return whether a text that is cut at a space behind a letter has the ids that the whole text begins with."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids without special tokens."""


class Shape(Protocol):
    """What is asked of an encoder's shape."""

    @property
    def positions(self) -> int:
        """Return the tokens of its longest row."""

    @property
    def separators(self) -> int:
        """Return the separators between the parts of a pair."""


class Place(Protocol):
    """A place in the data; here the number of the step says all."""

    @property
    def step(self) -> int:
        """Return how many steps come before."""


@dataclass(frozen=True)
class Encoded:
    """Ragged rows: ``ids[i]`` and ``segments[i]`` are 1-D, of one length; ``cut`` counts rows that were too long.

    Where long rows became several windows, ``owners`` are the numbers of the rows that they are of, rising.
    """

    ids: tuple[np.ndarray, ...]
    segments: tuple[np.ndarray, ...]
    labels: np.ndarray
    pad_id: int
    cut: int
    owners: np.ndarray | None = None

    @cached_property
    def lengths(self) -> np.ndarray:
        """Return the tokens of each row, (n,)."""
        return np.array([len(row) for row in self.ids])


def lay_out(
    texts: Sequence[tuple[str, ...]],
    labels: np.ndarray,
    tokenizer: Encodes,
    shape: Shape,
    max_length: int,
    stride: int | None = None,
) -> Encoded:
    """Encode rows as a family lays them out, at most as long as the encoder takes.

    Longer ones are cut, or become windows that begin ``stride`` tokens apart.
    """
    length, separators = min(max_length, shape.positions), shape.separators
    if stride is None:
        return encode(texts, labels, tokenizer, max_length=length, separators=separators)
    return encode_windows(texts, labels, tokenizer, max_length=length, stride=stride, separators=separators)


def encode(
    texts: Sequence[tuple[str, ...]], labels: np.ndarray, tokenizer: Encodes, *, max_length: int, separators: int = 1
) -> Encoded:
    """Lay rows out as [CLS] a [SEP] or [CLS] a [SEP] b [SEP], with segments 0 and 1.

    ``separators`` stand between the parts of a pair (RoBERTa: 2). A row longer than ``max_length`` loses tokens from
    the end of its longer part, one by one, and is counted.
    """
    parts = [[row[part] for row in texts] for part in range(len(texts[0]))]
    room = room_of(len(parts), max_length, separators)
    columns = _columns(parts, room, tokenizer)
    fitted = [fit(row, room) for row in zip(*columns, strict=True)]
    laid = [_laid_out(kept, tokenizer, separators) for kept, _ in fitted]
    ids, segments = tuple(ids for ids, _ in laid), tuple(segments for _, segments in laid)
    return Encoded(ids, segments, labels, tokenizer.pad_id, sum(was_cut for _, was_cut in fitted))


def _columns(parts: Sequence[Sequence[str]], room: int, tokenizer: Encodes) -> list[list[list[int]]]:
    """Return the ids of all rows' parts, as far as ``fit`` looks at them."""
    found = [_begins(texts, room, tokenizer) for texts in parts]
    columns = [ids for ids, _ in found]
    for texts, (ids, begun) in zip(parts, found, strict=True) if len(parts) == 2 else ():
        for row in begun:
            if min(len(column[row]) for column in columns) > room:
                # Which of two long parts is the longer one decides where an odd token goes.
                ids[row] = tokenizer.encode([texts[row]])[0]
    return columns


def _begins(texts: Sequence[str], room: int, tokenizer: Encodes) -> tuple[list[list[int]], list[int]]:
    """Return each text's ids, of one that is much too long the first of them, more than ``room``; and which these are.

    All ids of a text of megabytes take a hundred times its memory, and only the first few are kept.
    """
    size = max(_CHARACTERS * room, _FEWEST)
    if max(map(len, texts)) <= 2 * size or not tokenizer.words_apart:
        return tokenizer.encode(texts), []
    kept = [text if len(text) <= 2 * size else _begin(text, size) for text in texts]
    begun = [row for row, text in enumerate(texts) if len(kept[row]) < len(text)]
    found = tokenizer.encode(kept)
    while short := [row for row in begun if len(found[row]) <= room]:  # a word that is long or unknown is one token
        size *= 8
        for row in short:
            kept[row] = _begin(texts[row], size)
        for row, ids in zip(short, tokenizer.encode([kept[row] for row in short]), strict=True):
            found[row] = ids
        begun = [row for row in begun if len(kept[row]) < len(texts[row])]
    return found, begun


def _begin(text: str, size: int) -> str:
    """Return a text up to the first space behind a letter and ``size`` characters; whole where there is none."""
    found = _SPACE.search(text, size)
    return text if found is None else text[: found.start() + 1]


def encode_windows(
    texts: Sequence[tuple[str, ...]],
    labels: np.ndarray,
    tokenizer: Encodes,
    *,
    max_length: int,
    stride: int,
    separators: int = 1,
) -> Encoded:
    """Lay rows out as ``encode`` does, a row that is too long as several windows, each with the row's label.

    A window begins ``stride`` tokens after the one before, or sooner where it is no longer than that; the last ends
    with the text. Of a pair the longer part moves and the other stays whole, or is cut to half of the room and counted.
    """
    columns = [tokenizer.encode([row[part] for row in texts]) for part in range(len(texts[0]))]
    room = room_of(len(columns), max_length, separators)
    laid, owners, cut = [], [], 0
    for row, parts in enumerate(zip(*columns, strict=True)):
        found, was_cut = _windows(parts, room, stride)
        cut += was_cut
        laid += [_laid_out(kept, tokenizer, separators) for kept in found]
        owners += [row] * len(found)
    own = np.array(owners, dtype=np.int64)
    ids, segments = tuple(ids for ids, _ in laid), tuple(segments for _, segments in laid)
    return Encoded(ids, segments, labels[own], tokenizer.pad_id, cut, own)


def averaged(logits: np.ndarray, rows: Encoded) -> np.ndarray:
    """Return a row's logits, (n, C): the mean over its windows."""
    if rows.owners is None:
        return logits
    starts = np.flatnonzero(np.diff(rows.owners, prepend=-1))
    sums = np.add.reduceat(logits, starts, axis=0)
    return np.asarray(sums / np.diff(starts, append=len(logits))[:, None], dtype=logits.dtype)


def windows_of(length: int, width: int, stride: int) -> list[int]:
    """Return where the windows over ``length`` tokens begin, each ``width`` tokens wide."""
    last = max(0, length - width)
    step = max(1, min(stride, width))
    return [*range(0, last, step), last]


def room_of(parts: int, max_length: int, separators: int = 1) -> int:
    """Return the tokens of text that a row of one part or two has room for."""
    return max_length - (2 if parts == 1 else 2 + separators)


def _laid_out(kept: Sequence[list[int]], tokenizer: Encodes, separators: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a row's ids and segments, (T,) each."""
    first = [tokenizer.cls_id, *kept[0], tokenizer.sep_id]
    second = [tokenizer.sep_id] * (separators - 1) + [*kept[1], tokenizer.sep_id] if len(kept) > 1 else []
    segments = np.array([0] * len(first) + [1] * len(second), dtype=np.int64)
    return np.array(first + second, dtype=np.int64), segments


def _windows(parts: tuple[list[int], ...], room: int, stride: int) -> tuple[list[list[list[int]]], bool]:
    """Return the windows over a row's parts, and whether a part was cut."""
    if sum(len(part) for part in parts) <= room:
        return [list(parts)], False
    long = max(range(len(parts)), key=lambda part: len(parts[part]))
    kept = [part if place == long else part[: room // 2] for place, part in enumerate(parts)]
    width = room - sum(len(part) for place, part in enumerate(kept) if place != long)
    starts = windows_of(len(parts[long]), width, stride)
    found = [[p[start : start + width] if n == long else p for n, p in enumerate(kept)] for start in starts]
    return found, any(len(a) < len(b) for a, b in zip(kept, parts, strict=True))


def fit(parts: Sequence[list[Piece]], room: int) -> tuple[list[list[Piece]], bool]:
    """Cut a row's parts to the room that they have together, the longer one first; return whether any was cut."""
    sizes = [len(part) for part in parts]
    if sum(sizes) <= room:
        return list(parts), False
    if len(sizes) == 1:
        return [parts[0][:room]], True
    # Taking single tokens from the longer part, over and over, ends here.
    shorter = min(sizes[0], sizes[1], room // 2)
    sizes = [shorter, room - shorter] if sizes[0] <= sizes[1] else [room - shorter, shorter]
    return [part[:size] for part, size in zip(parts, sizes, strict=True)], True


class TrainBatches:
    """Steps over all rows, epoch after epoch, rows of like length together; a pure function of seed and step."""

    def __init__(self, rows: Encoded, *, batch: int, micro_batch: int, seed: int) -> None:
        self.steps_per_epoch = -(-len(rows.ids) // batch)
        self._rows, self._batch, self._micro_batch, self._seed = rows, batch, micro_batch, seed
        self._epoch = lru_cache(maxsize=2)(self._draw)

    def _draw(self, epoch: int) -> list[np.ndarray]:
        """Shuffle rows, sort pools of them by length, cut those into batches, and shuffle the batches."""
        generator = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
        order, lengths = generator.permutation(len(self._rows.ids)), self._rows.lengths
        pool = self._batch * _POOL
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        ordered = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in pools])
        batches = [ordered[start : start + self._batch] for start in range(0, len(ordered), self._batch)]
        return [batches[place] for place in generator.permutation(len(batches))]

    def rows(self, place: Place) -> int:
        """Return the rows of a step; the last of an epoch may be smaller."""
        epoch, number = divmod(place.step, self.steps_per_epoch)
        return len(self._epoch(epoch)[number])

    def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
        """Return this rank's micro-batches of a step."""
        epoch, number = divmod(place.step, self.steps_per_epoch)
        chosen = self._epoch(epoch)[number][rank::world]
        return [
            collate(self._rows, chosen[start : start + self._micro_batch])
            for start in range(0, len(chosen), self._micro_batch)
        ]


def collate(rows: Encoded, chosen: np.ndarray) -> dict[str, Any]:
    """Pad chosen rows to one width: ids, segments (B, T), labels, and a mask where anything was padded.

    A row alone stays as it is: who asks for one waits for it. ``rows`` (B,) are their numbers, for what is joined to
    them later.
    """
    import torch  # here: rows are laid out for serving too, where there is none

    lengths = [len(rows.ids[row]) for row in chosen]
    shape = (len(chosen), lengths[0] if len(chosen) == 1 else min(_width(max(lengths)), int(rows.lengths.max())))
    ids, segments = np.full(shape, rows.pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for place, row in enumerate(chosen):
        ids[place, : lengths[place]] = rows.ids[row]
        segments[place, : lengths[place]] = rows.segments[row]
    mask = np.arange(shape[1])[None, :] < np.array(lengths)[:, None]
    return {
        "ids": torch.from_numpy(ids),
        "segments": torch.from_numpy(segments),
        "mask": None if mask.all() else torch.from_numpy(mask),
        "labels": torch.from_numpy(rows.labels[chosen]),
        "rows": torch.from_numpy(np.asarray(chosen, dtype=np.int64)),
        "count": len(chosen),
        "tokens": int(sum(lengths)),
    }


def _width(longest: int) -> int:
    """Return the width of a batch: one of eight a doubling, so that at most a ninth of a row is padding for it.

    torch's matrix library keeps code for every shape that it has met, some megabytes a width, until a thousand are
    there: with each batch as wide as its longest row, a training of some hundred steps took twice the memory.
    """
    step = 1 << max(0, longest.bit_length() - 4)
    return -(-longest // step) * step


def in_order_of_length(rows: Encoded, batch: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Give all rows once, the longest first: the numbers of a batch's rows, and the batch."""
    order = np.argsort(-rows.lengths, kind="stable")
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        yield chosen, collate(rows, chosen)

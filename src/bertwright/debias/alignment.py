"""Units that two models' tokens are compared over: words of the text, or tokens that both have.

All is laid out once, in flat arrays; a training step only gathers. N tokens of all rows, n rows.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bertwright.errors import DataError, InputError
from bertwright.tasks.batches import fit, room_of

Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float32]

WORD = re.compile(r"\w+|[^\w\s]")
"""A run of letters and digits, or one other sign."""
_SPECIAL = -1
_BLOCK = 1 << 12  # rows whose tokens are objects at once, of some kilobytes a row; behind them they are numbers


class EncodedText(Protocol):
    """A text's tokens with the characters that they stand for."""

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Return the first character of each token, and one past its last."""


class Locates(Protocol):
    """What is asked of a tokenizer."""

    def encode_with_offsets(self, texts: Sequence[str]) -> Sequence[EncodedText]:
        """Return each text's tokens."""


@dataclass(frozen=True)
class Located:
    """Where the tokens of laid-out rows stand: row, position, column of text (-1: special) and characters, (N,) each.

    Rows rise, and positions within them. Characters count from the begin of the row's own text in that column.
    """

    rows: int
    row: Whole
    position: Whole
    column: Whole
    start: Whole
    end: Whole


def locate(texts: Sequence[tuple[str, ...]], tokenizer: Locates, *, max_length: int, separators: int = 1) -> Located:
    """Find the characters behind every token of rows laid out, and cut, as ``tasks.batches.encode`` does."""
    room = room_of(len(texts[0]), max_length, separators)
    blocks = [
        _spans(texts[start : start + _BLOCK], tokenizer, room, separators) for start in range(0, len(texts), _BLOCK)
    ]
    column, start, end = np.concatenate([spans for spans, _ in blocks]).T
    counts = np.concatenate([lengths for _, lengths in blocks])
    return Located(len(texts), np.repeat(np.arange(len(texts)), counts), ranges(counts), column, start, end)


def _spans(texts: Sequence[tuple[str, ...]], tokenizer: Locates, room: int, separators: int) -> tuple[Whole, Whole]:
    """Return column, start and end of all tokens of some rows, (tokens, 3), and how many each row has."""
    columns = [tokenizer.encode_with_offsets(list(column)) for column in zip(*texts, strict=True)]
    special = (_SPECIAL, 0, 0)
    found: list[tuple[int, int, int]] = []
    lengths = []
    for encoded in zip(*columns, strict=True):
        spans, _ = fit([one.offsets for one in encoded], room)
        before = len(found)
        found.append(special)
        for number, part in enumerate(spans):
            if number:
                found += [special] * (separators - 1)
            found += [(number, start, end) for start, end in part]
            found.append(special)
        lengths.append(len(found) - before)
    return np.array(found, dtype=np.int64).reshape(-1, 3), np.array(lengths, dtype=np.int64)


@dataclass(frozen=True)
class Entries:
    """Which token belongs to which unit, and with what share; sorted by unit, whose numbers rise with the rows."""

    unit: Whole
    token: Whole
    share: Real
    unit_row: Whole


def by_words(located: Located, texts: Sequence[str], column: int) -> Entries:
    """Spread the tokens of one column over its words: a token's share of a word is that of its characters in it.

    A word is a run of letters and digits, or one other sign. Characters between words (a space in front of a piece)
    belong to none and take nothing; a token without any character in a word is left out.
    """
    offsets = np.cumsum([0, *(len(text) + 1 for text in texts)])
    words = [[match.span() for match in WORD.finditer(text)] for text in texts]
    unit_row = np.repeat(np.arange(len(texts)), [len(row) for row in words])
    spans = list(itertools.chain.from_iterable(words))
    begin, end = (np.array(spans, dtype=np.int64).reshape(-1, 2) + offsets[unit_row][:, None]).T
    tokens = np.flatnonzero(located.column == column)
    first, last = (side[tokens] + offsets[located.row[tokens]] for side in (located.start, located.end))
    from_word = np.searchsorted(end, first, side="right")
    overlaps = np.maximum(np.searchsorted(begin, last, side="left") - from_word, 0) * (last > first)
    token = np.repeat(tokens, overlaps)
    unit = np.repeat(from_word, overlaps) + ranges(overlaps)
    shared = np.minimum(end[unit], np.repeat(last, overlaps)) - np.maximum(begin[unit], np.repeat(first, overlaps))
    whole = np.bincount(token, weights=shared, minlength=len(located.row))
    share = (shared / whole[token]).astype(np.float32)
    order = np.argsort(unit, kind="stable")
    return Entries(unit[order], token[order], share[order], unit_row)


def by_tokens(located: Located, column: int, units: npt.NDArray[np.int64]) -> Entries:
    """Make each of the first ``units[row]`` tokens of a column (-1: of the special ones) a unit of its own."""
    tokens = np.flatnonzero(located.column == column)
    counts = np.bincount(located.row[tokens], minlength=located.rows)
    place = ranges(counts)
    kept = place < units[located.row[tokens]]
    unit_row = np.repeat(np.arange(located.rows), units)
    return Entries(np.arange(int(units.sum())), tokens[kept], np.ones(int(kept.sum()), dtype=np.float32), unit_row)


@dataclass(frozen=True)
class Aligned:
    """The units of all rows, ready for a batch: their tokens in the main model, and the expert's saliency.

    ``units`` (n + 1,) and ``tokens`` bound the units of each row and the tokens of each unit; ``lost`` (n,) counts the
    units of a row that only one of the models saw, because the other cut the text.
    """

    units: Whole
    tokens: Whole
    positions: Whole
    shares: Real
    expert: Real
    lost: Whole

    def batch(self, rows: Whole) -> dict[str, np.ndarray]:
        """Return ``unit_tokens``, ``unit_shares`` (B, U, P) and ``unit_expert`` (B, U) of some rows, padded with 0."""
        counts = np.diff(self.units)[rows]
        units = np.repeat(self.units[rows], counts) + ranges(counts)
        row, place = np.repeat(np.arange(len(rows)), counts), ranges(counts)
        pieces = np.diff(self.tokens)[units]
        entries = np.repeat(self.tokens[units], pieces) + ranges(pieces)
        where = (np.repeat(row, pieces), np.repeat(place, pieces), ranges(pieces))
        shape = (len(rows), max(1, int(counts.max(initial=0))), max(1, int(pieces.max(initial=0))))
        tokens, shares = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        tokens[where], shares[where] = self.positions[entries], self.shares[entries]
        expert = np.zeros(shape[:2], dtype=np.float32)
        expert[row, place] = self.expert[units]
        return {"unit_tokens": tokens, "unit_shares": shares, "unit_expert": expert}


def align(
    main: Located,
    expert: Located,
    saliency: npt.NDArray[np.floating],
    texts: Sequence[tuple[str, ...]],
    *,
    columns: Sequence[int],
    compare: str = "words",
    specials: str = "out",
) -> Aligned:
    """Lay an expert's saliency, (N,) over its own tokens, beside the main model's tokens, over what both read.

    ``texts`` are the main model's rows and ``columns`` says which of its columns each of the expert's is: (0, 1) for
    both, (1,) for an expert that reads the second alone. ``InputError`` where tokens, or special ones, cannot be
    compared one by one.
    """
    if len(saliency) != len(expert.row):
        raise DataError(
            f"found {len(saliency):,} saliencies of an expert for {len(expert.row):,} tokens; they were made of other "
            "texts, or with another tokenizer or length: make the signals again"
        )
    pairs = [(own, theirs) for theirs, own in enumerate(columns)]
    sides = [_sides(main, expert, texts, own, theirs, compare) for own, theirs in pairs]
    if specials == "in":
        sides.append(_by_tokens(main, expert, _SPECIAL, _SPECIAL))
    return _joined(main, np.asarray(saliency, dtype=np.float64), sides)


def _sides(
    main: Located, expert: Located, texts: Sequence[tuple[str, ...]], own: int, theirs: int, compare: str
) -> tuple[Entries, Entries]:
    if compare == "tokens":
        return _by_tokens(main, expert, own, theirs)
    column = [row[own] for row in texts]
    return by_words(main, column, own), by_words(expert, column, theirs)


def _by_tokens(main: Located, expert: Located, own: int, theirs: int) -> tuple[Entries, Entries]:
    sides = ((main, own), (expert, theirs))
    counts = [np.bincount(one.row[one.column == column], minlength=one.rows) for one, column in sides]
    if own == _SPECIAL and (counts[0] != counts[1]).any():
        raise InputError(
            "specials: in compares special tokens one by one, and the two models have a different number of them (the "
            "expert reads other columns, or is of another family); set specials: out"
        )
    both = np.minimum(*counts)
    entries = [by_tokens(one, column, both) for one, column in sides]
    ours, other = ((one.start[e.token], one.end[e.token]) for (one, _), e in zip(sides, entries, strict=True))
    if not all(np.array_equal(a, b) for a, b in zip(ours, other, strict=True)):
        raise InputError(
            "compare: tokens needs two models that cut texts into the same tokens, and these do not; set compare: words"
        )
    return entries[0], entries[1]


def _joined(main: Located, saliency: npt.NDArray[np.float64], sides: Sequence[tuple[Entries, Entries]]) -> Aligned:
    """Keep the units that both models have tokens of, and put those of all columns in the order of the rows."""
    rows, units, tokens, positions, shares, values = [], [], [], [], [], []
    lost = np.zeros(main.rows, dtype=np.int64)
    for ours, theirs in sides:
        size = len(ours.unit_row)
        pieces = np.bincount(ours.unit, minlength=size)
        seen = (pieces > 0, np.bincount(theirs.unit, minlength=size) > 0)
        both = seen[0] & seen[1]
        lost += np.bincount(ours.unit_row[seen[0] ^ seen[1]], minlength=main.rows)
        values.append(np.bincount(theirs.unit, weights=theirs.share * saliency[theirs.token], minlength=size)[both])
        rows.append(ours.unit_row[both])
        units.append(pieces[both])
        kept = both[ours.unit]
        positions.append(main.position[ours.token[kept]])
        shares.append(ours.share[kept])
        tokens.append(np.repeat(ours.unit_row[both], pieces[both]))
    # A stable sort by row keeps columns, and the tokens of a unit, in their order.
    row, entry_row = np.concatenate(rows), np.concatenate(tokens)
    by_row, entries = np.argsort(row, kind="stable"), np.argsort(entry_row, kind="stable")
    return Aligned(
        _bounds(np.bincount(row, minlength=main.rows)),
        _bounds(np.concatenate(units)[by_row]),
        np.concatenate(positions)[entries],
        np.concatenate(shares)[entries],
        np.concatenate(values)[by_row].astype(np.float32),
        lost,
    )


def ranges(counts: npt.NDArray[np.integer]) -> Whole:
    """Return 0 .. count - 1 for each count, one behind the other."""
    ends = np.cumsum(counts)
    return np.asarray(np.arange(int(counts.sum())) - np.repeat(ends - counts, counts), dtype=np.int64)


def _bounds(counts: npt.NDArray[np.integer]) -> Whole:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

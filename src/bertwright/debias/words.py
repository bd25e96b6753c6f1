"""Words of single rows with how much of an answer hangs on each: what people are shown of attributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertwright.debias.alignment import WORD, Located, by_words


@dataclass(frozen=True)
class Looked:
    """What a model looks at in some rows: its tokens, their saliency (N,), and which columns of the rows it reads."""

    located: Located
    saliency: npt.NDArray[np.floating]
    columns: Sequence[int]


@dataclass(frozen=True)
class Word:
    """A word of a column of a row, by its characters, with the share of each model: 1 for the row's largest.

    ``None`` where a model does not read the column, or where the text was cut before the word.
    """

    column: int
    start: int
    end: int
    main: float | None
    expert: float | None


def words_of(texts: Sequence[tuple[str, ...]], main: Looked, expert: Looked | None = None) -> list[list[Word]]:
    """Return the words of each row, column by column, with the shares of both models."""
    shares = [_shares(texts, one) if one is not None else {} for one in (main, expert)]
    found: list[list[Word]] = []
    for row, columns in enumerate(texts):
        words = [(column, *match.span()) for column, text in enumerate(columns) for match in WORD.finditer(text)]
        found.append([Word(*word, *(one.get((row, *word[:2])) for one in shares)) for word in words])
    return found


def _shares(texts: Sequence[tuple[str, ...]], looked: Looked) -> dict[tuple[int, int, int], float]:
    """Return a share for each (row, column, first character) of a word that a model has tokens of."""
    values: dict[tuple[int, int, int], float] = {}
    for theirs, column in enumerate(looked.columns):
        own = [row[column] for row in texts]
        entries = by_words(looked.located, own, theirs)
        size = len(entries.unit_row)
        sums = np.bincount(entries.unit, weights=entries.share * looked.saliency[entries.token], minlength=size)
        seen = np.bincount(entries.unit, minlength=size) > 0
        starts = [match.start() for text in own for match in WORD.finditer(text)]
        for unit in np.flatnonzero(seen).tolist():
            values[int(entries.unit_row[unit]), column, starts[unit]] = float(sums[unit])
    largest: dict[int, float] = {}
    for (row, *_), value in values.items():
        largest[row] = max(largest.get(row, 0.0), value)
    return {key: value / (largest[key[0]] or 1.0) for key, value in values.items()}

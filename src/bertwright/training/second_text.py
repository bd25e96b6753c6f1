"""A second text, whose loss shows what a training forgets."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

import numpy as np

from bertwright.errors import DataError
from bertwright.text.cleaning import Cleaning
from bertwright.text.documents import Troubles
from bertwright.text.memory import room_for
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.masked_rows import HELD_OUT_ROWS

_MEMORY = 1_000_000_000


class SecondText:
    """The first rows of a text, one document behind the other; asked for as held-out rows are."""

    def __init__(self, path: Path, tokenizer: Tokenizer, row_length: int) -> None:
        room = row_length - 2
        documents = chain.from_iterable(
            Cleaning().documents(
                file,
                errors="replace",
                broken_rows="skip",
                troubles=Troubles(),
                room=room_for(_MEMORY, 1),
                progress=lambda _: None,
            )
            for file in expand([Source(str(path))])
        )
        pieces = chain.from_iterable([*tokenizer.encode([text])[0], tokenizer.sep_id] for text in documents)
        stream = np.fromiter(islice(pieces, HELD_OUT_ROWS * room), dtype=np.int64)
        whole = len(stream) // room
        if not whole:
            raise DataError(
                f"pretrain.second_text: {path} gives {len(stream)} tokens, less than one row of {row_length}; name a "
                "longer text"
            )
        self._ids = np.full((whole, row_length), tokenizer.cls_id, dtype=np.int64)
        self._ids[:, 1:-1] = stream[: whole * room].reshape(whole, room)
        self._ids[:, -1] = tokenizer.sep_id

    def rows(self, _split: str) -> int:
        """Return how many rows there are."""
        return len(self._ids)

    def ids(self, _split: str, chosen: np.ndarray) -> np.ndarray:
        """Return the ids of chosen rows, (n, T)."""
        found: np.ndarray = self._ids[chosen]
        return found

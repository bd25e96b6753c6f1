"""Streams of texts to streams of ids, in batches whose size does not hang on how long a document is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertwright.text.rows import Ids
from bertwright.text.tokenizer import Tokenizer

# Characters: a long document goes to the tokenizer in pieces of about this size, a batch holds several of them.
_PIECE = 1 << 16
_BATCH = 1 << 20


@dataclass(frozen=True)
class EncodedDocument:
    """One document's ids with the size of its text: bytes in UTF-8 and words (runs without a space)."""

    ids: Ids
    bytes: int
    words: int


def encoded(texts: Iterable[str], tokenizer: Tokenizer, dtype: npt.DTypeLike) -> Iterator[list[EncodedDocument]]:
    """Give batches of encoded documents, in order; the ids are those of the whole text at once.

    Texts are normalised ones: words parted by one space.
    """
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield _encode(batch, tokenizer, dtype)
            batch, size = [], 0
    if batch:
        yield _encode(batch, tokenizer, dtype)


def pieces(text: str) -> list[str]:
    """Cut a long text before spaces, so that the tokenizer's time and memory stay in proportion to it.

    The space stays with the word behind it, as byte-level tokenizers need; a text without spaces is not cut.
    """
    cuts = [0]
    while len(text) - cuts[-1] > _PIECE:
        cut = text.find(" ", cuts[-1] + _PIECE)
        if cut < 0:
            break
        cuts.append(cut)
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _encode(batch: list[str], tokenizer: Tokenizer, dtype: npt.DTypeLike) -> list[EncodedDocument]:
    cut = [pieces(text) for text in batch]
    arrays: Iterator[Ids] = (np.array(ids, dtype=dtype) for group in _groups(cut) for ids in tokenizer.encode(group))
    return [
        EncodedDocument(np.concatenate([next(arrays) for _ in parts]), len(text.encode("utf-8")), text.count(" ") + 1)
        for text, parts in zip(batch, cut, strict=True)
    ]


def _groups(cut: list[list[str]]) -> Iterator[list[str]]:
    """Give the pieces of all documents, in order, in groups of a batch's size, however long a document is."""
    group: list[str] = []
    size = 0
    for piece in (piece for parts in cut for piece in parts):
        group.append(piece)
        size += len(piece)
        if size >= _BATCH:
            yield group
            group, size = [], 0
    if group:
        yield group

"""Words that people are shown, with the shares of two models, against shares by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_debias import PieceTokenizer

from bertwright.debias.alignment import locate
from bertwright.debias.words import Looked, words_of
from bertwright.text.tokenizer import Encoded

TEXTS = [("one three", "two"), ("six", "")]


def test_a_word_has_the_sum_of_its_tokens_over_the_rows_largest() -> None:
    """Pieces of three letters: "three" has two; the expert reads the second column, in whole words."""
    main = locate(TEXTS, PieceTokenizer(3), max_length=20)
    assert [-1, 0, 0, 0, -1, 1, -1, -1, 0, -1, -1] == main.column.tolist()
    saliency = np.array([9, 2, 1, 3, 9, 1, 9, 9, 0, 9, 9], dtype=np.float32)
    expert = locate([(row[1],) for row in TEXTS], PieceTokenizer(9), max_length=20)
    own = np.array([9, 5, 9, 9, 9], dtype=np.float32)
    first, second = words_of(TEXTS, Looked(main, saliency, (0, 1)), Looked(expert, own, (1,)))
    assert [(0, 0, 3), (0, 4, 9), (1, 0, 3)] == [(one.column, one.start, one.end) for one in first]
    assert [0.5, 1.0, 0.25] == [one.main for one in first]
    assert [None, None, 1.0] == [one.expert for one in first]
    # A row without any saliency has shares of 0, and an expert that has nothing to read none at all.
    assert [(0.0, None)] == [(one.main, one.expert) for one in second]


def test_words_that_were_cut_have_no_share() -> None:
    """The row's first word fits, its second does not."""
    main = locate([("one two",)], PieceTokenizer(3), max_length=3)
    (words,) = words_of([("one two",)], Looked(main, np.array([9, 4, 9]), (0,)))
    assert [1.0, None] == [one.main for one in words]
    assert [None, None] == [one.expert for one in words]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_shares_do_not_hang_on_how_a_model_cuts_words(size: int) -> None:
    """A saliency of 1 a letter gives each word its length over the longest's."""
    text = ("a bcd, efghij",)
    main = locate([text], PieceTokenizer(size), max_length=40)
    letters = np.where(main.column == 0, main.end - main.start, 0).astype(np.float32)
    (words,) = words_of([text], Looked(main, letters, (0,)))
    assert pytest.approx([1 / 6, 3 / 6, 1 / 6, 1.0]) == [one.main for one in words]


def test_many_rows_are_located_a_block_at_a_time() -> None:
    """A tokenizer's objects are kilobytes a row: a large set's never stand in memory together, and nothing changes."""

    asked: list[int] = []

    class Counting(PieceTokenizer):
        def encode_with_offsets(self, texts: Any) -> list[Encoded]:
            asked.append(len(texts))
            return super().encode_with_offsets(texts)

    rows = [(f"row {number} of many", "and more") for number in range(10_000)]
    found = locate(rows, Counting(3), max_length=9)
    assert (max(asked) < 5000, 2 * len(rows)) == (True, sum(asked))
    last = locate(rows[-2:], PieceTokenizer(3), max_length=9)
    assert len(rows) == found.rows
    for name in ("position", "column", "start", "end"):
        assert getattr(last, name).tolist() == getattr(found, name)[found.row >= len(rows) - 2].tolist()

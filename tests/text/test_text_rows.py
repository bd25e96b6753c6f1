"""Rows, held-out documents and encoding in pieces."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.text.encoding import pieces
from bertwright.text.held_out import HeldOut, choose_held_out, draw
from bertwright.text.rows import ContiguousRows

PAD, CLS, SEP = 0, 2, 3
DOCUMENTS = st.lists(st.lists(st.integers(5, 99), min_size=1, max_size=20), max_size=12)


def rows_of(documents: list[list[int]], length: int, at_once: int) -> np.ndarray:
    """Return all rows of documents that are handed in some at once."""
    maker = ContiguousRows(row_length=length, cls_id=CLS, sep_id=SEP, pad_id=PAD, dtype=np.uint16)
    arrays = [np.array(document, dtype=np.uint16) for document in documents]
    parts = [maker.add(arrays[start : start + at_once]) for start in range(0, len(arrays), at_once)]
    return np.concatenate([np.empty((0, length), np.uint16), *parts, maker.finish()])


def test_rows_by_hand() -> None:
    """Two documents are joined by [SEP], cut into threes, framed, and padded at the end."""
    expected = [[CLS, 11, 12, 13, SEP], [CLS, 14, SEP, 21, SEP], [CLS, 22, SEP, PAD, PAD]]
    assert expected == rows_of([[11, 12, 13, 14], [21, 22]], 5, at_once=1).tolist()


@settings(deadline=None, max_examples=60)
@given(DOCUMENTS, st.integers(3, 12), st.integers(1, 5))
def test_rows_lose_and_repeat_nothing(documents: list[list[int]], length: int, at_once: int) -> None:
    """Rows without frames and padding are the joined documents, in order, however they are handed in."""
    rows = rows_of(documents, length, at_once)
    inner = [number for row in rows for number in row[1:][row[1:] != PAD][:-1]]
    joined = [number for place, document in enumerate(documents) for number in ([SEP] if place else []) + document]
    assert joined == inner
    assert (rows == rows_of(documents, length, 100)).all()
    assert (rows[:-1] != PAD).all()
    assert (rows[:, 0] == CLS).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(0, 5), st.sampled_from([0.005, 0.1, 0.5]))
def test_both_splits_get_a_document(count: int, seed: int, share: float) -> None:
    """Of two and more documents at least one is held out and at least one is not; of one, none is as a whole."""
    rule = choose_held_out(range(count), seed=seed, share=share)
    taken = sum(map(rule.takes, range(count)))
    assert (1 <= taken < count) if count > 1 else (taken == 0 and rule.tail)


def test_the_share_is_kept() -> None:
    """Of many documents about the share is held out, another part for another seed."""
    rule = choose_held_out(range(20_000), seed=1, share=0.05)
    assert HeldOut(1, 0.05) == rule
    taken = [number for number in range(20_000) if rule.takes(number)]
    assert 900 < len(taken) < 1100
    assert taken != [number for number in range(20_000) if draw(2, number) < 0.05]


def test_looking_ends_when_both_sides_have_a_document() -> None:
    """Only small corpora are read to their end to choose what is held out."""
    looked: list[int] = []
    choose_held_out((looked.append(number) for number in range(10**6)), seed=0, share=0.1)
    assert len(looked) < 200


def test_a_single_document_gives_its_last_rows() -> None:
    """Of ten rows of four the last one is held out at 1 %, and five at a half."""
    ids = np.arange(38, dtype=np.uint16)
    for share, cut in ((0.01, 36), (0.5, 20)):
        dealt = HeldOut(0, share, tail=True).deal(0, ids, 4)
        assert (list(range(cut)), list(range(cut, 38))) == (dealt["train"].tolist(), dealt["held_out"].tolist())


def test_long_texts_are_cut_before_spaces() -> None:
    """Pieces join to the text, begin with a space, and stay near the size; without spaces there is one."""
    text = " ".join(["word"] * 50_000)
    cut = pieces(text)
    assert text == "".join(cut)
    assert all(part.startswith(" ") for part in cut[1:])
    assert max(map(len, cut)) < 1 << 17
    assert 1 == len(pieces("x" * 300_000))

"""Rows, the order of rows, held-out documents, repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.text.duplicates import mark_repeats
from bertwright.text.encoded_parts import pieces_of
from bertwright.text.held_out import HeldOut, tail_rows
from bertwright.text.rows import Frame, best_fit, contiguous, packed, stream_of
from bertwright.text.shuffle import buckets_of, keys_of, mix

PAD, CLS, SEP = 0, 2, 3
DOCUMENTS = st.lists(st.lists(st.integers(5, 99), min_size=0, max_size=20), max_size=12)


def flat(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return documents' ids one behind the other, and their lengths."""
    ids = np.array([number for document in documents for number in document], dtype=np.uint16)
    return ids, np.array([len(document) for document in documents], dtype=np.int64)


def frame(length: int) -> Frame:
    """Return a frame of this length."""
    return Frame(length, CLS, SEP, PAD)


def test_contiguous_rows_by_hand() -> None:
    """Two documents are joined by [SEP], cut into threes, framed, and padded at the end."""
    ids, lengths = flat([[11, 12, 13, 14], [21, 22]])
    stream = stream_of(ids, lengths, np.ones(2, dtype=bool), SEP)
    assert [11, 12, 13, 14, SEP, 21, 22, SEP] == stream.tolist()
    expected = [[CLS, 11, 12, 13, SEP], [CLS, 14, SEP, 21, SEP], [CLS, 22, SEP, PAD, PAD]]
    assert expected == contiguous(stream[:-1], frame(5)).tolist()


@settings(deadline=None, max_examples=60)
@given(DOCUMENTS, st.integers(3, 12), st.integers(0, 4095))
def test_contiguous_rows_lose_and_repeat_nothing(documents: list[list[int]], length: int, drawn: int) -> None:
    """Rows without frames and padding are the kept documents, joined, in order."""
    kept = np.array([bool(drawn >> number & 1) for number in range(len(documents))], dtype=bool)
    rows = contiguous(stream_of(*flat(documents), kept, SEP), frame(length))
    inner = [number for row in rows for number in row[1:][row[1:] != PAD][:-1]]
    mine = [document for document, keep in zip(documents, kept, strict=True) if keep and document]
    assert [number for document in mine for number in [*document, SEP]] == inner
    assert (rows[:-1] != PAD).all()
    assert (rows[:, 0] == CLS).all()


@settings(deadline=None, max_examples=100)
@given(DOCUMENTS, st.integers(4, 12), st.integers(0, 4095))
def test_packed_rows_hold_whole_documents(documents: list[list[int]], length: int, drawn: int) -> None:
    """Each kept document is in one row, whole, or cut into full pieces and a rest; nothing else is there."""
    kept = np.array([bool(drawn >> number & 1) for number in range(len(documents))], dtype=bool)
    rows = packed(*flat(documents), kept, frame(length))
    found = []
    for row in rows:
        assert CLS == row[0]
        text = row[1:][row[1:] != PAD]
        assert SEP == text[-1]
        found += [part.tolist() for part in np.split(text, np.flatnonzero(text == SEP) + 1)[:-1]]
    most = length - 2
    mine = [document for document, keep in zip(documents, kept, strict=True) if keep]
    pieces = [[*document[i : i + most], SEP] for document in mine for i in range(0, len(document), most)]
    assert sorted(pieces) == sorted(found)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(2, 20), max_size=60), st.integers(20, 40))
def test_best_fit_never_overfills(sizes: list[int], room: int) -> None:
    """No bin holds more than there is room, and no two bins could be one."""
    bins = best_fit(sizes, room)
    filled = [sum(size for size, place in zip(sizes, bins, strict=True) if place == one) for one in set(bins)]
    assert max(filled, default=0) <= room
    assert len(filled) < 2 or sum(sorted(filled)[:2]) > room


def test_packing_fills_the_rows() -> None:
    """Documents of mixed lengths fill more than 99 % of the rows' places."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 400, 20_000)
    ids = np.full(int(lengths.sum()), 9, dtype=np.uint16)
    rows = packed(ids, lengths, np.ones(len(lengths), dtype=bool), frame(128))
    assert np.count_nonzero(rows) / rows.size > 0.99


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**63), st.integers(1, 50))
def test_buckets_keep_the_order_of_keys(seed: int, buckets: int) -> None:
    """Keys of one bucket are all smaller than those of the next: sorted buckets give sorted keys."""
    keys = np.sort(np.concatenate([keys_of(segment, 100, seed) for segment in range(3)]))
    found = buckets_of(keys, buckets)
    assert (np.diff(found) >= 0).all()
    assert 0 <= found.min() <= found.max() < buckets
    assert 300 == len(np.unique(keys))


def test_keys_are_splitmix64s() -> None:
    """The first number of SplitMix64 from state 1234567, as its authors' code gives it."""
    assert 6457827717110365317 == int(mix(np.array([1234567], dtype=np.uint64))[0])


def hashes(count: int, seed: int = 0) -> np.ndarray:
    """Return drawn hashes, (count, 2)."""
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64)


def held(hashes: np.ndarray, there: np.ndarray, *, seed: int, share: float, piece: int = 37) -> tuple[np.ndarray, bool]:
    """Return which documents are held out, shown and asked piece by piece, and whether it has to be a tail."""
    chooser = HeldOut(seed=seed, share=share)
    starts = range(0, len(hashes), piece)
    for start in starts:
        chooser.see(hashes[start : start + piece], there[start : start + piece])
    pieces = [chooser.flags(hashes[start : start + piece], there[start : start + piece]) for start in starts]
    return np.concatenate(pieces), chooser.tail


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(0, 5), st.sampled_from([0.005, 0.1, 0.5, 0.999]))
def test_both_splits_get_a_document(count: int, seed: int, share: float) -> None:
    """Of two and more documents at least one is held out and at least one is not; of one, none is as a whole."""
    found, tail = held(hashes(count), np.ones(count, dtype=bool), seed=seed, share=share)
    taken = int(found.sum())
    assert (1 <= taken < count) if count > 1 else (taken == 0 and tail)


def test_the_share_is_kept_and_hangs_on_the_text_alone() -> None:
    """About the share is held out, another part for another seed, and a text's side is its own wherever it stands."""
    some, there = hashes(20_000), np.ones(20_000, dtype=bool)
    found, _ = held(some, there, seed=1, share=0.05)
    assert 900 < found.sum() < 1100
    assert (found != held(some, there, seed=2, share=0.05)[0]).any()
    assert (found[::-1] == held(some[::-1], there, seed=1, share=0.05, piece=1000)[0]).all()


def test_what_is_not_there_is_not_held_out() -> None:
    """Documents that were left out or hold no ids count on neither side."""
    there = np.zeros(50, dtype=bool)
    there[[3, 7]] = True
    found, _ = held(hashes(50), there, seed=0, share=0.5)
    assert 1 == found.sum() == found[[3, 7]].sum()
    assert held(hashes(50), there & (np.arange(50) == 3), seed=0, share=0.5)[1]


@pytest.mark.parametrize("share", [1e-12, 0.5, 1 - 1e-12])
def test_copies_are_on_one_side(share: float) -> None:
    """Also of the text that alone is held out, or alone is not; of copies of one text none is held out as a whole."""
    twice = np.concatenate([hashes(40), hashes(40)])
    found, _ = held(twice, np.ones(80, dtype=bool), seed=0, share=share)
    assert (found[:40] == found[40:]).all()
    assert 2 <= found.sum() <= 78
    assert held(hashes(1).repeat(5, axis=0), np.ones(5, dtype=bool), seed=0, share=share)[1]


@pytest.mark.parametrize(("rows", "share", "expected"), [(10, 0.01, 1), (10, 0.5, 5), (1, 0.5, 1)])
def test_a_single_documents_last_rows(rows: int, share: float, expected: int) -> None:
    """The share of its rows, and at least one."""
    assert expected == tail_rows(rows, share)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=5), st.sampled_from([1, 500, 10**9]))
def test_repeats_are_those_of_a_dictionary(parts: list[list[int]], memory: int) -> None:
    """Whatever the parts and however little memory, what a dictionary would find is found, with the first of each."""
    values = hashes(10, seed=1)
    found = np.arange(sum(map(len, parts)))
    mark_repeats(lambda: (values[part].reshape(-1, 2) for part in parts), found, memory=memory)
    first: dict[int, int] = {}
    values_in_order = [value for part in parts for value in part]
    expected = [first.setdefault(value, number) for number, value in enumerate(values_in_order)]
    assert expected == found.tolist()


def test_long_texts_are_cut_before_spaces() -> None:
    """Pieces join to the text, begin with a space, and stay near the size; without spaces there is one."""
    text = " ".join(["word"] * 50_000)
    cut = pieces_of(text, 1 << 16)
    assert text == "".join(cut)
    assert all(part.startswith(" ") for part in cut[1:])
    assert max(map(len, cut)) < 1 << 17
    assert 1 == len(pieces_of("x" * 300_000, 1 << 16))

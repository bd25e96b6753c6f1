"""Runs of words from ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.text.shingles import Shingler
from bertwright.text.tokenizer import train_tokenizer

WORDS = ["ab", "abc", "cab", "dada", "e", "feed", "bead"]
TOKENIZER = train_tokenizer(iter([" ".join(WORDS)] * 3), kind="wordpiece", vocabulary=24, lowercase=True)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=9), max_size=8), st.integers(1, 4))
def test_runs_are_those_of_the_words(documents: list[list[str]], count: int) -> None:
    """Two runs have one number where their words are the same, wherever they stand; none goes over a document's end."""
    encoded = TOKENIZER.encode([" ".join(words) for words in documents])
    ids = np.array([i for one in encoded for i in one], dtype=np.uint16)
    found = Shingler(TOKENIZER, count).of(ids, np.array([len(one) for one in encoded], dtype=np.int64))
    runs = [[tuple(words[i : i + count]) for i in range(len(words) - count + 1)] for words in documents]
    assert [len(of_one) for of_one in runs] == found.counts.tolist()
    flat = [run for of_one in runs for run in of_one]
    assert len(set(flat)) == len(np.unique(found.hashes))
    assert len(flat) == len(found.hashes)
    assert len(set(zip(flat, found.hashes.tolist(), strict=True))) == len(set(flat))


@pytest.mark.parametrize(("kind", "size", "sign"), [("wordpiece", 30, "\u0120"), ("bpe", 276, "##")])
def test_signs_that_mark_words_elsewhere_are_ordinary_text(kind: str, size: int, sign: str) -> None:
    """A piece ## of byte-level BPE, and a letter \u0120 in WordPiece, change nothing of where words begin."""
    tokenizer = train_tokenizer(["## \u0120 the catfish ## ####"] * 30, kind=kind, vocabulary=size, lowercase=False)
    assert sign in tokenizer.pieces()
    [ids] = tokenizer.encode(["the catfish the catfish"])
    found = Shingler(tokenizer, 1).of(np.array(ids, dtype=np.uint16), np.array([len(ids)]))
    assert [4] == found.counts.tolist()
    assert 4 - (kind == "bpe") == np.count_nonzero(~tokenizer.inside_words()[ids])

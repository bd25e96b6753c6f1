"""What may be done to a document before it is encoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright.text.cleaning import TOO_LONG, TOO_SHORT, Cleaning
from bertwright.text.corpus import Choices
from bertwright.text.prepare import Summary, prepare_rows
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import train_tokenizer

WORDS = "one two three four five six seven eight nine ten eleven twelve"
TOKENIZER = train_tokenizer(iter([WORDS] * 3), kind="wordpiece", vocabulary=50, lowercase=True)


@pytest.mark.parametrize(
    ("cleaning", "text", "expected"),
    [
        (Cleaning(), "e\u0301 a\x07b \u200bc", "e\u0301 a\x07b \u200bc"),
        (Cleaning(nfc=True), "e\u0301 \ufb01", "\u00e9 \ufb01"),
        (Cleaning(control=True), "a\x07b \u200b c\x00 \ufeffd \u202e", "ab c d"),
        (Cleaning(control=True), "\u200b\x07", ""),
        (Cleaning(nfc=True, control=True), "e\u200b\u0301", "\u00e9"),
    ],
)
def test_a_text_becomes_what_the_recipe_wants(cleaning: Cleaning, text: str, expected: str) -> None:
    """Nothing by itself; composed characters and no controls on request; whitespace stays normal."""
    assert expected == cleaning.clean(text)


def prepare(folder: Path, cleaning: Cleaning) -> Summary:
    """Prepare four documents of 6, 18, 61 and 1 characters, and some more."""
    texts = ["one two", "one two three four", WORDS, "x", "\u200b", *(f"{WORDS} {n}" for n in ("one", "two", "six"))]
    (folder / "a.txt").write_text("\n\n".join(texts))
    TOKENIZER.save(folder / "tokenizer", max_length=64)
    choices = Choices(row_length=8, held_out=0.2, seed=0, cleaning=cleaning)
    files = expand([Source(str(folder / "a.txt"))])
    return prepare_rows(files, folder / "tokenizer", folder / "rows", choices, scratch=folder / "scratch")


def test_nothing_is_left_out_by_itself(tmp_path: Path) -> None:
    """Without lengths every document is there."""
    everything = prepare(tmp_path, Cleaning())
    assert (8, {}) == (everything.documents, everything.troubles)


def test_short_and_long_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    """Each under its reason; one that is empty after the cleaning is too short."""
    summary = prepare(tmp_path, Cleaning(control=True, shortest=5, longest=62))
    assert {TOO_SHORT: 2, TOO_LONG: 3} == summary.troubles
    assert 3 == summary.documents

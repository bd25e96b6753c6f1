"""tokie's ids are those of tokenizers, or tokie is not asked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.text import engine as engine_module
from bertwright.text.engine import Disagreement, EncodedTexts, Engine
from bertwright.text.overlaps import TaskTexts, runs_of
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

HARD = [
    "caf\u00e9 U\u0308n\u0131 \u0130stanbul \u00df \ufb01 \u2167 \u00bd",
    "\u4e2d\u6587\u5b57 \ud55c\uad6d\uc5b4 \u3072\u3089\u304c\u306a",
    "\u0e44\u0e17\u0e22 \u0928\u092e\u0938\u094d\u0924\u0947 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U00020000 \U0010ffff \ue000",
    "a\x00b \x07c\x7f \u200b\u00ad \u2028 \ufeff \u061d\u0378 \u00a0 \u3000 \x85",
    "don't -- \u201cquoted\u201d \u2026 a_b a/b $5.00 50% #tag @me x=y^2 <br> `` ''",
    "[MASK] [CLS]and[SEP] [mask] [UNK] [PAD]s",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101 + " " + "d" * 5000,
    "e\u0301\u0302\u0303 \u0301 A\u030a \u1e9b\u0323",
    "\u03a3\u03a3 \u03a3 \u039f\u0394\u039f\u03a3",
    " ",
    "",
]


@pytest.fixture(scope="module", params=["lower", "cased"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Return a small WordPiece tokenizer."""
    texts = [*HARD[:5], "the cat sat on a mat and ate 12 fish, 5 birds"] * 3
    return train_tokenizer(iter(texts), kind="wordpiece", vocabulary=150, lowercase=request.param == "lower")


def texts_of(found: EncodedTexts) -> list[list[int]]:
    """Return ids text by text."""
    return [part.tolist() for part in np.split(found.ids, np.cumsum(found.lengths)[:-1])]


def test_hard_texts_have_the_same_ids(tokenizer: Tokenizer) -> None:
    """Scripts, emoji, accents, controls, special tokens written out, long words: alone and together.

    None of them is a reason to give tokie up: those that it cannot be trusted with go to tokenizers one by one.
    """
    engine = Engine(tokenizer)
    engine.prove(HARD)
    assert "tokie" == engine.name
    assert tokenizer.encode(HARD) == texts_of(engine.encode(HARD))
    assert 0 < engine.by_tokenizers < len(HARD)
    for text in HARD:
        assert tokenizer.encode([text]) == texts_of(engine.encode([text]))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(max_size=60) | st.text("aA\u00e9\u0301 [MASK]#.\u4e2d", max_size=30), min_size=1, max_size=6))
def test_any_text_has_the_same_ids(texts: list[str]) -> None:
    """Whatever characters a text is made of."""
    assert SHARED.encode(texts) == texts_of(ENGINE.encode(texts))


SHARED = train_tokenizer(iter(["the cat sat on a mat"] * 3), kind="wordpiece", vocabulary=26, lowercase=True)
ENGINE = Engine(SHARED)


def test_a_tokenizer_with_words_of_its_own_goes_to_tokenizers(tokenizer: Tokenizer) -> None:
    """tokie is not asked where it is not known to do the same, and the reason is told."""
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    backend.add_tokens(["catfish"])
    other = Tokenizer(backend, {n: f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")})
    engine = Engine(other)
    assert ("tokenizers", "the tokenizer has added tokens that are not special ones") == (engine.name, engine.reason)
    assert other.encode(["a catfish"]) == texts_of(engine.encode(["a catfish"]))


def test_a_text_that_differs_is_found(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should tokie be wrong on the user's text, the sample tells before the work and compared texts during it."""
    wrong = lambda _self, texts: EncodedTexts(np.ones(len(texts), np.uint32), np.ones(len(texts), np.int64))  # noqa: E731
    engine = Engine(tokenizer)
    monkeypatch.setattr(Engine, "_encode_fast", wrong)
    with pytest.raises(Disagreement, match="for a text of 11 characters"):
        engine.encode(["the cat sat"])
    engine.prove(["the cat sat"])
    assert "tokenizers" == engine.name
    assert "tokie gave other ids" in engine.reason
    assert tokenizer.encode(["the cat sat"]) == texts_of(engine.encode(["the cat sat"]))


def test_a_tokenizer_without_added_tokens_is_tokies_too(tokenizer: Tokenizer) -> None:
    """A search for none of them found one in every text, and no text went to the library that the record names."""
    content = {**json.loads(tokenizer.to_json()), "added_tokens": [], "post_processor": None}
    engine = Engine(Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)), tokenizer.special))
    texts = ["the cat sat", "on a mat"]
    assert engine.tokenizer.encode(texts) == texts_of(engine.encode(texts))
    assert ("tokie", 0) == (engine.name, engine.by_tokenizers)


def test_runs_of_tasks_are_found_where_tokie_is_wrong(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts of a task are encoded again by tokenizers alone, as those of the corpus are."""

    def compare(_self: Engine, _text: str, _ids: object) -> None:
        raise Disagreement("a reason")

    texts = TaskTexts("task", "dev", [("1", ("the cat sat on a mat and ate 12 fish, 5 birds and the cat",))])
    expected = runs_of(texts, tokenizer).runs
    monkeypatch.setattr(engine_module, "_COMPARE_EVERY", 1)
    monkeypatch.setattr(Engine, "_compare", compare)
    assert len(expected) > 0
    assert expected.tolist() == runs_of(texts, tokenizer).runs.tolist()

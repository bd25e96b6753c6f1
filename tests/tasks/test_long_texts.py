"""Of a text that is much too long only the begin is encoded; what is kept of it is the same to the last id."""

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from bertwright.tasks import batches
from bertwright.tasks.batches import Encoded, encode
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

WORDS = [a + b + c for a in ("ba", "ko", "Mi", "tu") for b in ("ri", "na", "so", "pe") for c in ("", "l", "ng", "ste")]
TEXTS = [" ".join(WORDS[start::7]) + ", don't (stop)! 1.5" for start in range(7)]
KINDS = [(kind, lowercase) for kind in ("wordpiece", "bpe", "unigram") for lowercase in (True, False)]
ODD = [
    *(
        "ba",
        "Ri",
        "Σ",
        "ΑΣ",
        "ς",
        "é",
        "e\u0301",
        "\u0301",
        "ͺ",
        "¨",
        "ﷺ",
        "가",
        "\u1100\u1161",
        "中",
        "ß",
        "İ",
        "x" * 120,
    ),
    *(" ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u200b", "\0", "'s", "'", "1", "1.5", ".", "..", "_", "😀", "▁", "Ġ"),
    *("[MASK]", "[MASK", "[", "]", "<mask>", "##a", "-LRB-", " ba", " Ri", " x"),
]
SHORT = st.lists(st.sampled_from(ODD), max_size=30).map("".join)


def drawn(seed: int) -> str:
    """Return a text of some dozen words, most of them ordinary."""
    draw = random.Random(seed)
    return "".join(
        draw.choice(ODD if draw.random() < 0.2 else WORDS) + " " * draw.randint(0, 1) for _ in range(seed % 40)
    )


TEXT = SHORT | st.integers(0, 1 << 30).map(drawn)


@pytest.fixture(scope="module")
def trained() -> dict[tuple[str, bool], Tokenizer]:
    """A tokenizer of each kind."""
    return {
        (kind, lowercase): train_tokenizer(
            TEXTS, kind=kind, vocabulary={"wordpiece": 90, "bpe": 300, "unigram": 60}[kind], lowercase=lowercase
        )
        for kind, lowercase in KINDS
    }


class Whole:
    """A tokenizer whose texts are never cut before they are encoded."""

    words_apart = False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.cls_id, self.sep_id, self.pad_id = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
        self.encode = tokenizer.encode


def rows_of(encoded: Encoded) -> list[list[int]]:
    """Return ids and segments, and the count of rows that were cut."""
    return [*(ids.tolist() for ids in encoded.ids), *(one.tolist() for one in encoded.segments), [encoded.cut]]


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(KINDS), first=TEXT, rest=TEXT)
def test_a_text_up_to_a_space_has_the_first_ids(
    trained: dict[tuple[str, bool], Tokenizer], kind: tuple[str, bool], first: str, rest: str
) -> None:
    """Whatever stands before the space, and whatever follows."""
    assume(first and first[-1].isalnum())
    tokenizer = trained[kind]
    assert tokenizer.words_apart
    begin, whole = tokenizer.encode([first, f"{first} {rest}"])
    assert begin == whole[: len(begin)]


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
    parts=st.sampled_from([1, 2]),
    length=st.integers(4, 14),
)
def test_rows_are_cut_as_if_all_of_them_were_encoded(
    trained: dict[tuple[str, bool], Tokenizer],
    kind: tuple[str, bool],
    rows: Sequence[tuple[str, str]],
    parts: int,
    length: int,
) -> None:
    """Ids, segments and the count of cut rows; single texts and pairs, both of them long too."""
    tokenizer, texts = trained[kind], [row[:parts] for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_CHARACTERS", 1)
        patch.setattr(batches, "_FEWEST", 1)
        found = encode(texts, np.zeros(len(rows)), tokenizer, max_length=length)
    expected = encode(texts, np.zeros(len(rows)), Whole(tokenizer), max_length=length)
    assert rows_of(expected) == rows_of(found)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_only_the_begin_of_a_long_text_is_encoded(
    trained: dict[tuple[str, bool], Tokenizer], kind: tuple[str, bool], parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million characters beside a short text."""
    tokenizer, draw = trained[kind], random.Random(0)
    texts = [(" ".join(draw.choices(WORDS, k=200_000)), "ba ri")[:parts], ("ba", "ri")[:parts]]
    expected, sizes = encode(texts, np.zeros(2), Whole(tokenizer), max_length=16), []

    def counted(given: Sequence[str], real=tokenizer.encode) -> list[list[int]]:  # type: ignore[no-untyped-def]
        sizes.append(sum(map(len, given)))
        return real(given)

    monkeypatch.setattr(tokenizer, "encode", counted)
    assert rows_of(expected) == rows_of(encode(texts, np.zeros(2), tokenizer, max_length=16))
    assert sum(sizes) < 5000


def test_a_letter_never_becomes_a_space_at_its_end() -> None:
    """The first part of a text ends with what is no space, however characters are changed."""
    letters = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isalnum()]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert not any(unicodedata.normalize(form, letter)[-1].isspace() for letter in letters)


def made(**parts: object) -> Tokenizer:
    """Return a tokenizer of some parts."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    backend = tokenizers.Tokenizer(models.WordPiece({name: at for at, name in enumerate(names)}, unk_token="[UNK]"))
    for name, part in parts.items():
        setattr(backend, name, part)
    return Tokenizer(backend, dict(zip(("pad", "unk", "cls", "sep", "mask"), names, strict=False)))


def test_tokenizers_that_look_over_spaces_get_whole_texts() -> None:
    """No splitter, one that keeps sentences together, an unknown normalizer, and tokens of two words."""
    bert = pre_tokenizers.BertPreTokenizer()
    sentences = pre_tokenizers.Metaspace(split=False)
    for splitter, normalizer in (
        (pre_tokenizers.Punctuation(), None),
        (sentences, None),
        (pre_tokenizers.Sequence([sentences, bert]), None),
        (pre_tokenizers.ByteLevel(use_regex=False), None),
        (bert, normalizers.Replace("a b", "b")),
        (bert, normalizers.Sequence([normalizers.NFC(), normalizers.Replace("a b", "b")])),
    ):
        parts = {"pre_tokenizer": splitter, **({} if normalizer is None else {"normalizer": normalizer})}
        assert not made(**parts).words_apart, parts
    assert not made().words_apart
    assert made(pre_tokenizer=pre_tokenizers.Sequence([bert, sentences])).words_apart
    assert made(pre_tokenizer=bert, normalizer=normalizers.Sequence([normalizers.NFC()])).words_apart
    for words, apart in (("New York", False), ("NewYork", True)):
        tokenizer = made(pre_tokenizer=bert)
        tokenizer._backend.add_tokens([words])
        assert apart == tokenizer.words_apart

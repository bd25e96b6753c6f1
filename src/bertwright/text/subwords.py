"""Training byte-level BPE and Unigram vocabularies on counts of words streamed in bounded memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from bertwright.errors import DataError
from bertwright.text.wordpiece import repeated

_SPACE = "\u2581"  # what SentencePiece writes for a space
_LONGEST_WORD = 100


def bpe_normalizer(lowercase: bool) -> normalizers.Normalizer | None:
    """Return what is done to a text before byte-level BPE: nothing, or case folding."""
    return normalizers.Lowercase() if lowercase else None


def unigram_normalizer(lowercase: bool) -> normalizers.Normalizer:
    """Return what is done to a text before Unigram: Unicode's NFKC, and case folding where ``lowercase``."""
    return normalizers.Sequence([normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])])


def train_bpe(
    strings: Mapping[str, int], *, special: Mapping[str, str], vocabulary: int, lowercase: bool
) -> tokenizers.Tokenizer:
    """Return a byte-level BPE tokenizer (Radford et al. 2019) of exactly ``vocabulary`` pieces; it knows any text.

    ``strings`` counts normalised strings without a space; ``special`` names pad, unk, cls, sep, mask in id order.
    ``DataError`` where the strings support fewer pieces.
    """
    normalizer = bpe_normalizer(lowercase)
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = _split(strings, splitter)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(special.values()), initial_alphabet=alphabet, show_progress=False
    )
    backend = tokenizers.Tokenizer(models.BPE(unk_token=special["unk"]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.train_from_iterator(repeated(words), trainer)
    _check(backend, vocabulary, len(words))
    backend.pre_tokenizer, backend.decoder = splitter, decoders.ByteLevel()
    return _framed(backend, normalizer, special)


def train_unigram(
    strings: Mapping[str, int], *, special: Mapping[str, str], vocabulary: int, lowercase: bool
) -> tokenizers.Tokenizer:
    """Return a Unigram tokenizer (Kudo 2018) of exactly ``vocabulary`` pieces; spaces are kept as a piece's first sign.

    ``strings`` counts normalised strings without a space; ``special`` names pad, unk, cls, sep, mask in id order.
    ``DataError`` where the strings support fewer pieces.
    """
    normalizer = unigram_normalizer(lowercase)
    # The special tokens have to be pieces of the model, which would find them in a text: so brackets stand alone.
    spaces = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    brackets = pre_tokenizers.Split(tokenizers.Regex(r"[\[\]]"), behavior="isolated")
    splitter = pre_tokenizers.Sequence([spaces, brackets])
    words = _split(strings, splitter)
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special.values()),
        unk_token=special["unk"],
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(repeated(words), trainer)
    _check(learner, vocabulary, len(words))
    scored = _in_one_order(json.loads(learner.to_str())["model"]["vocab"], set(special.values()))
    backend = tokenizers.Tokenizer(models.Unigram(scored, unk_id=list(special.values()).index(special["unk"])))
    backend.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in special.values()]
    )
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    return _framed(backend, normalizer, special)


def _in_one_order(scored: list[tuple[str, float]], special: set[str]) -> list[tuple[str, float]]:
    """Return pieces and scores as they are in any process.

    The trainer's sums differ in the last digits, and it gives characters that it has to keep, and would not have kept,
    scores below all others in the order of a hash table.
    """
    rounded = [(piece, round(score, 6)) for piece, score in scored if piece not in special]
    lowest = min(score for piece, score in rounded if len(piece) > 1)
    kept = sorted((piece for piece, score in rounded if len(piece) == 1 and score < lowest))
    scores = sorted((score for piece, score in rounded if len(piece) == 1 and score < lowest), reverse=True)
    others = [(piece, score) for piece, score in rounded if len(piece) > 1 or score >= lowest]
    others += zip(kept, scores, strict=True)
    first = [(piece, score) for piece, score in scored if piece in special]
    return first + sorted(others, key=lambda one: (-one[1], one[0]))


def _split(strings: Mapping[str, int], splitter: pre_tokenizers.PreTokenizer) -> Counter[str]:
    """Count the parts that a splitter makes of strings, each with the space that stands before it in a text."""
    counts: Counter[str] = Counter()
    for string, times in strings.items():
        if len(string) <= _LONGEST_WORD:
            for part, _ in splitter.pre_tokenize_str(f" {string}"):
                counts[part] += times
    return counts


def _check(backend: tokenizers.Tokenizer, vocabulary: int, words: int) -> None:
    found = backend.get_vocab_size()
    if found != vocabulary:
        raise DataError(
            f"The texts support a vocabulary of {found} pieces and {vocabulary} are asked for ({words} different words "
            f"were found). Set `tokenizer.vocabulary` to {found}, or add text."
        )


def _framed(
    backend: tokenizers.Tokenizer, normalizer: normalizers.Normalizer | None, special: Mapping[str, str]
) -> tokenizers.Tokenizer:
    """Give a tokenizer its normalizer and the frame of sentences and pairs."""
    if normalizer is not None:
        backend.normalizer = normalizer
    cls, sep = special["cls"], special["sep"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in (cls, sep)],
    )
    return backend

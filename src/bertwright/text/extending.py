"""New pieces for a tokenizer that was trained on other text: the words of this one that it cuts most."""

from __future__ import annotations

import json
from collections.abc import Iterable

import tokenizers

from bertwright.errors import DataError
from bertwright.text.string_counts import StringCounts
from bertwright.text.tokenizer import Tokenizer
from bertwright.text.wordpiece import words_of

_LEAST = 5  # how often a word has to come to be worth a row of the embedding table


def extend(tokenizer: Tokenizer, texts: Iterable[str], pieces: int) -> tuple[Tokenizer, StringCounts]:
    """Return a WordPiece tokenizer with ``pieces`` more, and what was counted; old pieces keep their ids.

    Chosen are whole words, by how many pieces fewer the texts have with each. ``DataError`` for other kinds, whose
    pieces hang on each other, and where the texts hold fewer words that are worth it.
    """
    content = json.loads(tokenizer.to_json())
    if content["model"]["type"] != "WordPiece":
        raise DataError(
            f"tokenizer.extend: the tokenizer is {content['model']['type']}, and only WordPiece can be extended; leave "
            "`extend` out, or train a tokenizer on the text"
        )
    backend = tokenizers.Tokenizer.from_str(json.dumps(content))
    counted = StringCounts(texts, backend.normalizer)
    words = words_of(counted.counts, backend.pre_tokenizer)
    candidates = sorted(word for word, times in words.items() if times >= _LEAST and word.isalpha())
    # A word that was unknown had a piece for each character, as it were.
    pieces_of = {
        word: len(word) if tokenizer.unk_id in ids else len(ids)
        for word, ids in zip(candidates, tokenizer.encode(candidates), strict=True)
    }
    saved = {word: words[word] * (count - 1) for word, count in pieces_of.items() if count > 1}
    chosen = sorted(saved, key=lambda word: (-saved[word], word))[:pieces]
    if len(chosen) < pieces:
        raise DataError(
            f"tokenizer.extend asks for {pieces} pieces, and the text has {len(chosen)} words that come at least "
            f"{_LEAST} times and are cut; set it to {len(chosen)} or less, or add text"
        )
    first = tokenizer.vocabulary
    content["model"]["vocab"] |= {word: first + number for number, word in enumerate(chosen)}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)), tokenizer.special), counted


def is_extension(tokenizer: Tokenizer, of: Tokenizer) -> bool:
    """Return whether a tokenizer has all pieces of another at their ids, and behind them whole words."""
    pieces, known = tokenizer.pieces(), of.vocabulary
    added = pieces[known:]
    return (
        bool(added) and pieces[:known] == of.pieces() and all(word.isalpha() and of.encode([word])[0] for word in added)
    )

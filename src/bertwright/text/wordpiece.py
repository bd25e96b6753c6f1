"""Training a WordPiece vocabulary on counts of words: the same texts give the same pieces, in any process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from bertwright.errors import DataError

INSIDE = "##"
# WordPiece gives up on longer words, and the trainer's time grows with the square of a word's length.
_LONGEST_WORD = 100
_MOST_CHARACTERS = 1000
_ENOUGH = 0.9995
_FEED = 1 << 16


@dataclass(frozen=True)
class Alphabet:
    """The characters that pieces are built from, and those of them that also stand inside words; by code point."""

    characters: tuple[str, ...]
    inside: tuple[str, ...]


def wordpiece_normalizer(lowercase: bool) -> normalizers.Normalizer:
    """Return BERT's own: control characters out, accents and case too where ``lowercase``."""
    return normalizers.BertNormalizer(lowercase=lowercase)


def train_wordpiece(
    strings: Mapping[str, int], *, special: Mapping[str, str], vocabulary: int, lowercase: bool
) -> tokenizers.Tokenizer:
    """Return a BERT tokenizer of exactly ``vocabulary`` pieces; ``special`` names pad, unk, cls, sep, mask in id order.

    ``strings`` counts normalised strings without a space. ``DataError`` where they support fewer pieces.
    """
    normalizer, splitter = wordpiece_normalizer(lowercase), pre_tokenizers.BertPreTokenizer()
    words = words_of(strings, splitter)
    pieces = _pieces(words, list(special.values()), vocabulary)
    backend = tokenizers.Tokenizer(
        models.WordPiece(pieces, unk_token=special["unk"], max_input_chars_per_word=_LONGEST_WORD)
    )
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.decoder = decoders.WordPiece(prefix=INSIDE)
    cls, sep = special["cls"], special["sep"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, pieces[cls]), (sep, pieces[sep])],
    )
    backend.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in special.values()]
    )
    return backend


def words_of(strings: Mapping[str, int], splitter: pre_tokenizers.PreTokenizer) -> Counter[str]:
    """Count the words that a splitter makes of strings."""
    words: Counter[str] = Counter()
    for string, times in strings.items():
        for word, _ in splitter.pre_tokenize_str(string):
            if len(word) <= _LONGEST_WORD:
                words[word] += times
    return words


def choose_alphabet(words: Mapping[str, int], pieces: int) -> Alphabet:
    """Return the most frequent characters, in at most ``pieces`` pieces (one inside words is a piece of its own).

    At most a thousand characters, and beyond half of ``pieces`` only as many as 99.95 % of the text needs. Equal counts
    go by code point.
    """
    counts: Counter[str] = Counter()
    inside: set[str] = set()
    for word, times in words.items():
        for character in word:
            counts[character] += times
        inside.update(word[1:])
    chosen: list[str] = []
    used, covered, total = 0, 0, counts.total()
    for character in sorted(counts, key=lambda c: (-counts[c], c))[:_MOST_CHARACTERS]:
        used += 2 if character in inside else 1
        if used > pieces or (used > pieces / 2 and covered >= _ENOUGH * total):
            break
        covered += counts[character]
        chosen.append(character)
    chosen.sort()
    return Alphabet(tuple(chosen), tuple(character for character in chosen if character in inside))


def _pieces(words: Mapping[str, int], special: list[str], vocabulary: int) -> dict[str, int]:
    """Return all pieces with their ids: special tokens, characters, characters inside words, merges in their order."""
    alphabet = choose_alphabet(words, vocabulary - len(special))
    # Left to itself the trainer numbers characters inside words in the order of a hash table, and then resolves equal
    # counts another way in each process. Given as "special" pieces, which come first, they have one order.
    first = [*special, *alphabet.characters, *(INSIDE + character for character in alphabet.inside)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=first,
        limit_alphabet=0,
        continuing_subword_prefix=INSIDE,
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token=special[0]))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(repeated(words), trainer)
    pieces: dict[str, int] = learner.get_vocab()
    if len(pieces) < vocabulary:
        found = len(pieces)
        raise DataError(
            f"The texts support a vocabulary of {found} pieces and {vocabulary} are asked for "
            f"({len(words)} different words were found). Set `tokenizer.vocabulary` to {found} or less, or add text."
        )
    return dict(sorted(pieces.items(), key=lambda item: item[1]))


def repeated(words: Mapping[str, int]) -> Iterator[str]:
    """Give each word as often as it was counted: the trainer takes text and no counts."""
    for word in sorted(words):
        string, left = f"{word} ", words[word]
        many = max(1, _FEED // len(string))
        while left > 0:
            yield string * min(many, left)
            left -= many

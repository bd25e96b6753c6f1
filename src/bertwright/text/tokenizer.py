"""Texts to ids of pieces and back. A tokenizer's folder is an ordinary one that other tools load."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import xxhash

from bertwright import files
from bertwright.errors import DataError
from bertwright.text.string_counts import StringCounts
from bertwright.text.subwords import bpe_normalizer, train_bpe, train_unigram, unigram_normalizer
from bertwright.text.wordpiece import train_wordpiece, wordpiece_normalizer

# What each special token is called, where the folder does not say: in BERT's tradition, in RoBERTa's.
_NAMES = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "mask": ("[MASK]", "<mask>"),
}
_TRAINERS = {"wordpiece": train_wordpiece, "bpe": train_bpe, "unigram": train_unigram}
# Those that change a character by itself, or with its accents: never one together with what stands behind a space.
_BY_CHARACTERS = ("BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")
_NORMALIZERS = {"wordpiece": wordpiece_normalizer, "bpe": bpe_normalizer, "unigram": unigram_normalizer}


@dataclass(frozen=True)
class Encoded:
    """One text's ids, and for each the span of characters (first, one past the last) of the text it stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Tokenizer:
    """A tokenizer that adds nothing by itself: no special tokens, no padding, no cutting.

    A special token written out in a text (``[MASK]``) is ordinary text and never becomes the special id.
    """

    def __init__(self, backend: tokenizers.Tokenizer, special: dict[str, str]) -> None:
        self._backend = backend
        self.special = special
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self.vocabulary: int = backend.get_vocab_size(with_added_tokens=True)
        ids = backend.get_vocab(with_added_tokens=True)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (ids[special[name]] for name in _NAMES)
        added = backend.get_added_tokens_decoder()
        self.special_ids: frozenset[int] = frozenset(
            {self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id}
            | {number for number, token in added.items() if token.special}
        )
        self.added_tokens: tuple[str, ...] = tuple(token.content for token in added.values())
        added_ids = {token.content: number for number, token in added.items() if token.special}
        self.lowercase = _lowercase(self._content().get("normalizer"))
        # Some models hold special tokens as pieces like any others, and would find them in a text.
        leaking = [t for t, number in added_ids.items() if t and number != self.unk_id and number in self._ids(t)]
        self._leaking = re.compile("|".join(map(re.escape, leaking))) if leaking else None

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Load ``tokenizer.json`` from a folder; ``DataError`` if it is missing, unreadable or lacks a special token.

        Which token plays which part is said by ``tokenizer_config.json`` where there is one, else by usual names.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise DataError(
                f"{path} is not there. Name a folder with a fast tokenizer's tokenizer.json; a tool that loads the "
                "model writes one with `AutoTokenizer.from_pretrained(...).save_pretrained(folder)`."
            )
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise DataError(f"{path} is not a tokenizer ({error}). Write it anew, or copy it once more.") from error
        special = _special_tokens(folder, backend)
        try:
            found = cls(backend, special)
            found._ids("\ue000")  # no piece holds it: a model that lacks its unknown token fails here, and not in a run
        except Exception as error:  # the library raises nothing narrower
            raise DataError(f"{path} cannot encode a text ({error}). Write it anew, or copy it once more.") from error
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's ids, without special tokens; never cut."""
        found = [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        for number, text in enumerate(texts) if self._leaking else ():
            if self._leaking and self._leaking.search(text):
                found[number] = [i for _, piece in self._broken_up(text) for i in self._ids(piece)]
        return found

    @cached_property
    def words_apart(self) -> bool:
        """Whether a text that is cut at a space behind a letter has the ids that the whole text begins with.

        So it is where the space parts words before the model sees them, and nothing looks further than a word.
        """
        content = self._content()
        added = [token["content"] for token in content.get("added_tokens") or ()]
        inside_words = all(token.isascii() and not any(map(str.isspace, token)) for token in added)
        return inside_words and _by_characters(content.get("normalizer")) and _at_spaces(content.get("pre_tokenizer"))

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoded]:
        """Return each text's ids with the characters they stand for."""
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        found = [Encoded(encoding.ids, encoding.offsets) for encoding in encodings]
        for number, text in enumerate(texts) if self._leaking else ():
            pieces = [
                (start, self._backend.encode(one, add_special_tokens=False)) for start, one in self._broken_up(text)
            ]
            found[number] = Encoded(
                [number for _, piece in pieces for number in piece.ids],
                [(first + start, end + start) for start, piece in pieces for first, end in piece.offsets],
            )
        return found

    def _broken_up(self, text: str) -> list[tuple[int, str]]:
        """Return a text's pieces with where each begins; special tokens in it are cut behind their first character."""
        cuts = [0, *(match.start() + 1 for match in self._leaking.finditer(text))] if self._leaking else [0]
        return [(start, text[start:end]) for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int], *, show_special: bool = False) -> str:
        """Return the text of ids, special tokens left out, or shown as they are called (``[CLS]``)."""
        pieces: list[str] = []
        run: list[str] = []
        for number in map(int, ids):
            if number in self.special_ids and number != self.unk_id:
                pieces += [self._join(run), self._piece(number) if show_special else ""]
                run = []
            else:
                run.append(self._piece(number))
        pieces.append(self._join(run))
        return " ".join(filter(None, pieces))

    def identity(self) -> str:
        """Return a hash (32 hexadecimal digits) of all that decides a text's ids, and of the special tokens."""
        content = json.dumps([self._content(), self.special], sort_keys=True, ensure_ascii=True)
        return xxhash.xxh3_128(content.encode()).hexdigest()

    def pieces(self) -> list[str]:
        """Return all pieces by their ids."""
        return [self._piece(number) for number in range(self.vocabulary)]

    def inside_words(self) -> npt.NDArray[np.bool_]:
        """Return which pieces go on with the word of the piece before, (vocabulary,).

        WordPiece marks them; byte-level BPE and Unigram mark what begins a word. A mark may be an ordinary sign too.
        """
        pieces, mark = self.pieces(), self._content()["model"].get("continuing_subword_prefix")
        if mark:
            continuing = np.array([piece.startswith(mark) for piece in pieces])
        else:
            continuing = np.array([not piece.startswith(("\u0120", "\u2581")) for piece in pieces])
        continuing[sorted(self.special_ids)] = False
        return continuing

    def to_json(self) -> str:
        """Return tokenizer.json's content; truncation and padding are off."""
        return json.dumps(self._content(), ensure_ascii=False)

    def save(self, folder: Path, *, max_length: int, segments: bool = True) -> None:
        """Write an ordinary tokenizer folder; ``max_length`` is the longest input, in tokens, that it announces.

        A pair is ``[CLS] a [SEP] b [SEP]`` with segments 0 and 1, or whatever the loaded tokenizer.json says;
        ``segments`` false keeps segment ids from models that take none.
        """
        content = self._content()
        named = {f"{name}_token": token for name, token in self.special.items()}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_length,
            "model_input_names": _input_names(content, segments=segments),
            "clean_up_tokenization_spaces": False,
            **({} if self.lowercase is None else {"do_lower_case": self.lowercase}),
            **named,
        }
        files.write_json(folder / "tokenizer.json", content)
        files.write_json(folder / "tokenizer_config.json", config)
        files.write_json(folder / "special_tokens_map.json", named)
        if content["model"].get("type") == "WordPiece":
            pieces = sorted(self._backend.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
            files.write_text(folder / "vocab.txt", "".join(f"{piece}\n" for piece, _ in pieces))

    def _content(self) -> dict[str, Any]:
        """Return tokenizer.json's content; truncation and padding are off."""
        content: dict[str, Any] = json.loads(self._backend.to_str())
        return content

    def _join(self, pieces: list[str]) -> str:
        if not pieces:
            return ""
        decoder = self._backend.decoder
        text: str = decoder.decode(pieces) if decoder is not None else " ".join(pieces)
        return text

    def _piece(self, number: int) -> str:
        piece: str | None = self._backend.id_to_token(number)
        if piece is None:
            raise ValueError(f"id {number} is outside a vocabulary of {self.vocabulary}")
        return piece


def train_tokenizer(texts: Iterable[str], *, kind: str, vocabulary: int, lowercase: bool) -> Tokenizer:
    """Train a tokenizer of exactly ``vocabulary`` pieces on a stream of texts; the same texts give the same bytes.

    Ids 0 to 4 are [PAD], [UNK], [CLS], [SEP], [MASK]. ``lowercase`` folds case and strips accents. ``DataError`` where
    the texts support fewer pieces.
    """
    counted = count_strings(texts, kind=kind, lowercase=lowercase)
    return train_on(counted, kind=kind, vocabulary=vocabulary, lowercase=lowercase)


def count_strings(texts: Iterable[str], *, kind: str, lowercase: bool) -> StringCounts:
    """Count what a tokenizer of some kind is trained on."""
    return StringCounts(texts, _NORMALIZERS[kind](lowercase))


def train_on(counted: StringCounts, *, kind: str, vocabulary: int, lowercase: bool) -> Tokenizer:
    """Train a tokenizer on what was counted with the same ``kind`` and ``lowercase``."""
    special = {name: usual[0] for name, usual in _NAMES.items()}
    backend = _TRAINERS[kind](counted.counts, special=special, vocabulary=vocabulary, lowercase=lowercase)
    return Tokenizer(backend, special)


def _special_tokens(folder: Path, backend: tokenizers.Tokenizer) -> dict[str, str]:
    """Return the five special tokens by their parts (pad, unk, cls, sep, mask); ``DataError`` names the missing."""
    path = folder / "tokenizer_config.json"
    try:
        config = files.read_json(path) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}). Write it anew, or copy it once more.") from error
    if not isinstance(config, dict):
        raise DataError(f"{path}: found a JSON {type(config).__name__}, expected an object of settings; write it anew.")
    special = {}
    for name, usual in _NAMES.items():
        told = config.get(f"{name}_token")
        told = told.get("content") if isinstance(told, dict) else told
        known = [token for token in ((told,) if told else usual) if _is_token(backend, token)]
        if known:
            special[name] = known[0]
    missing = [f"{name} ({' or '.join(usual)})" for name, usual in _NAMES.items() if name not in special]
    if missing:
        raise DataError(
            f"{folder / 'tokenizer.json'} has no special token for {', '.join(missing)}. An encoder needs all of "
            f"{', '.join(_NAMES)}: name them in tokenizer_config.json, or choose another tokenizer."
        )
    return special


def _is_token(backend: tokenizers.Tokenizer, token: Any) -> bool:
    try:
        return isinstance(token, str) and backend.token_to_id(token) is not None
    except UnicodeEncodeError:  # half a character, as JSON can spell it
        return False


def _lowercase(normalizer: dict[str, Any] | None) -> bool | None:
    """Return whether a normalizer folds case; None where its content does not tell."""
    if normalizer is None:
        return False
    if normalizer["type"] == "Sequence":
        told = [_lowercase(part) for part in normalizer["normalizers"]]
        return True if True in told else None if None in told else False
    if normalizer["type"] == "BertNormalizer":
        return bool(normalizer["lowercase"])
    if normalizer["type"] == "Lowercase":
        return True
    return False if normalizer["type"] in ("NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Strip", "Prepend") else None


def _by_characters(normalizer: dict[str, Any] | None) -> bool:
    """Return whether what a normalizer makes of a text up to a space does not hang on what follows."""
    if normalizer is None:
        return True
    if normalizer["type"] == "Sequence":
        return all(_by_characters(part) for part in normalizer["normalizers"])
    return normalizer["type"] in _BY_CHARACTERS


def _at_spaces(splitter: dict[str, Any] | None) -> bool:
    """Return whether a splitter parts a text at every space, or before it; of several the first one decides."""
    if splitter is None:
        return False
    if splitter["type"] == "Sequence":
        return bool(splitter["pretokenizers"]) and _at_spaces(splitter["pretokenizers"][0])
    # GPT-2's expression, in ByteLevel, takes a space only before what it stands before.
    switch = {"ByteLevel": "use_regex", "Metaspace": "split"}.get(splitter["type"])
    if switch is not None:
        return bool(splitter.get(switch, True))
    return splitter["type"] in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")


def _input_names(content: dict[str, Any], *, segments: bool) -> list[str]:
    """Return the inputs that a model of this tokenizer takes; segments only where the pair template has two of them."""
    two = '"type_id": 1' in json.dumps(content.get("post_processor"))
    bert = (content.get("post_processor") or {}).get("type") == "BertProcessing"
    return ["input_ids", *(["token_type_ids"] if segments and (two or bert) else []), "attention_mask"]

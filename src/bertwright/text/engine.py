"""Texts to ids at the speed of tokie where it gives the ids of tokenizers, and by tokenizers where it does not.

What is known not to be the same: a special token written out in a text (tokie makes it the special id), and some
characters (unassigned ones among them). Both are looked for in every text, characters by a table that is filled in as
they turn up; such texts go to tokenizers. A sample of the user's own text is compared before the work, and one text of
each few hundred during it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import tokie

from bertwright import door, files
from bertwright.text.tokenizer import Tokenizer

Flat = npt.NDArray[np.uint32]
Result = TypeVar("Result")

_UNKNOWN, _SAME, _DIFFERENT = 0, 1, 2
_CODE_POINTS = 0x110000
_ASCII = 128
# UTF-8: a character that begins with at least this byte has two, three, four bytes.
_TWO_BYTES, _THREE_BYTES, _FOUR_BYTES = 0xC0, 0xE0, 0xF0
_COMPARE_EVERY = 1024


@dataclass(frozen=True)
class EncodedTexts:
    """Ids of several texts one behind the other, (N,), and how many each has, (B,)."""

    ids: Flat
    lengths: npt.NDArray[np.int64]


class Disagreement(Exception):
    """tokie gave other ids than tokenizers for a text of the user; the text is the reason to be told."""


class Engine:
    """Encodes texts exactly; ``name`` is ``tokie`` or ``tokenizers`` and ``reason`` says why it is the latter.

    ``compared`` counts the texts that both encoded, ``by_tokenizers`` those that tokie was not asked for.
    """

    compared: int
    by_tokenizers: int

    def __init__(self, tokenizer: Tokenizer, *, allow_fast: bool = True) -> None:
        self.tokenizer = self._slow = tokenizer
        self._fast: tokie.Tokenizer | None = None
        self.reason = "" if allow_fast else "tokie disagreed on a text"
        if allow_fast:
            self._fast, self.reason = _load(tokenizer)
        added = [re.escape(token.encode()) for token in tokenizer.added_tokens if token]
        # A pattern of nothing would match every text, and none would go to tokie.
        self._special = re.compile(b"|".join(added)) if added else None
        self._known = np.zeros(_CODE_POINTS, dtype=np.uint8)
        self._wrong_ascii: list[bytes] = []
        self.begin()
        if self._fast is not None:
            self._learn(np.arange(_ASCII))
            self._wrong_ascii = [bytes([code]) for code in range(_ASCII) if self._known[code] == _DIFFERENT]

    @property
    def name(self) -> str:
        """The library that encodes all ordinary texts."""
        return "tokenizers" if self._fast is None else "tokie"

    def prove(self, sample: Sequence[str]) -> None:
        """Compare both libraries on some texts that tokie would be asked for and give it up where they differ."""
        if self._fast is None:
            return
        try:
            for text, hard in zip(sample, self._hard(sample), strict=True):
                if not hard:
                    self._compare(text, self._encode_fast([text]).ids)
        except Disagreement as error:
            self._fast, self.reason = None, str(error)

    def begin(self) -> None:
        """Start to count anew; which texts are compared hangs on how many came before."""
        self._count = self.compared = self.by_tokenizers = 0

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Return the ids of texts, without special tokens. ``Disagreement`` where a compared text shows one."""
        if self._fast is None:
            return self._encode_slow(texts)
        hard = self._hard(texts)
        found = self._encode_mixed(texts, hard) if hard.any() else self._encode_fast(texts)
        ends = np.cumsum(found.lengths)
        first = -self._count % _COMPARE_EVERY
        self._count += len(texts)
        for number in range(first, len(texts), _COMPARE_EVERY):
            if not hard[number]:
                self._compare(texts[number], found.ids[ends[number] - found.lengths[number] : ends[number]])
        return found

    def _encode_fast(self, texts: Sequence[str]) -> EncodedTexts:
        if self._fast is None:
            return self._encode_slow(texts)
        ids, lengths = self._fast.encode_batch_flat(list(texts), add_special_tokens=False)  # type: ignore[attr-defined]
        return EncodedTexts(ids, lengths.astype(np.int64))

    def _encode_slow(self, texts: Sequence[str]) -> EncodedTexts:
        self.by_tokenizers += len(texts)
        found = [np.array(ids, dtype=np.uint32) for ids in self._slow.encode(texts)]
        flat = np.concatenate(found) if found else np.empty(0, dtype=np.uint32)
        return EncodedTexts(flat, np.array([len(ids) for ids in found], dtype=np.int64))

    def _encode_mixed(self, texts: Sequence[str], hard: npt.NDArray[np.bool_]) -> EncodedTexts:
        """Encode each text by its own library and put them together in their order."""
        parts = {
            True: self._encode_slow([text for text, slow in zip(texts, hard, strict=True) if slow]),
            False: self._encode_fast([text for text, slow in zip(texts, hard, strict=True) if not slow]),
        }
        lengths = np.zeros(len(texts), dtype=np.int64)
        for slow, part in parts.items():
            lengths[hard == slow] = part.lengths
        ids = np.empty(lengths.sum(), dtype=np.uint32)
        of_hard = np.repeat(hard, lengths)
        for slow, part in parts.items():
            ids[of_hard == slow] = part.ids
        return EncodedTexts(ids, lengths)

    def _hard(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which texts tokie cannot be trusted with, (B,)."""
        contents = [text.encode() for text in texts]
        joined = b"\n".join(contents)
        hard = np.zeros(len(texts), dtype=bool)
        if self._special is not None and self._special.search(joined):
            hard |= np.array([bool(self._special.search(content)) for content in contents])
        places, codes = _code_points(joined)
        states = self._known[codes]
        if not states.all():
            self._learn(np.unique(codes[states == _UNKNOWN]))
            states = self._known[codes]
        different = places[states == _DIFFERENT]
        for code in self._wrong_ascii:
            if code in joined:
                different = np.append(different, np.flatnonzero(np.frombuffer(joined, dtype=np.uint8) == code[0]))
        if len(different):
            ends = np.cumsum([len(content) + 1 for content in contents])
            hard[np.searchsorted(ends, different, side="right")] = True
        return hard

    def _learn(self, codes: npt.NDArray[np.integer]) -> None:
        """Find out for some characters whether both libraries treat them alike, in a word, alone and behind a digit."""
        texts = [f"a{chr(code)}b {chr(code)} 9{chr(code)}" for code in codes.tolist()]
        fast, slow = self._encode_fast(texts), self._slow.encode(texts)
        ends = np.cumsum(fast.lengths)
        for code, end, length, expected in zip(codes.tolist(), ends, fast.lengths, slow, strict=True):
            same = fast.ids[end - length : end].tolist() == expected
            self._known[code] = _SAME if same else _DIFFERENT

    def _compare(self, text: str, ids: Flat) -> None:
        self.compared += 1
        [expected] = self._slow.encode([text])
        if ids.tolist() != expected:
            raise Disagreement(f"tokie gave other ids for a text of {len(text)} characters")


def exactly(tokenizer: Tokenizer, work: Callable[[Engine], Result]) -> Result:
    """Do some work with an engine; where tokie turns out to be wrong, do all of it again with tokenizers alone."""
    try:
        return work(Engine(tokenizer))
    except Disagreement:
        return work(Engine(tokenizer, allow_fast=False))


def _load(tokenizer: Tokenizer) -> tuple[tokie.Tokenizer | None, str]:
    """Return tokie's own form of a tokenizer, or none and why."""
    if any(not token["special"] for token in json.loads(tokenizer.to_json())["added_tokens"]):
        return None, "the tokenizer has added tokens that are not special ones"
    with door.passing_folder("tokenizer") as folder:
        path = folder / "tokenizer.json"
        files.fill(path, tokenizer.to_json().encode())
        try:
            return tokie.Tokenizer.from_json(str(path)), ""
        except Exception as error:  # the library names no narrower kind
            return None, f"tokie cannot load it ({error})"


def _code_points(content: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where in UTF-8 bytes the characters beyond ASCII begin, and their code points."""
    units = np.frombuffer(content, dtype=np.uint8)
    places = np.flatnonzero(units >= _TWO_BYTES)
    lead = units[places].astype(np.int64)

    def rest(distance: int) -> npt.NDArray[np.int64]:
        return units[np.minimum(places + distance, len(units) - 1)].astype(np.int64) & 0x3F

    two = (lead & 0x1F) << 6 | rest(1)
    three = (lead & 0x0F) << 12 | rest(1) << 6 | rest(2)
    four = (lead & 0x07) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3)
    return places, np.where(lead < _THREE_BYTES, two, np.where(lead < _FOUR_BYTES, three, four))

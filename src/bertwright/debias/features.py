"""Features that may give a label away: words, word pairs, lengths, negations, overlaps.

A row has a feature or not; the pairs (row, feature) are all that is kept. n rows, N pairs, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NEGATIONS = (
    *("no", "not", "never", "none", "nobody", "nothing", "nowhere", "neither", "nor", "cannot", "without"),
    *("n't", "don't", "doesn't", "didn't", "isn't", "aren't", "wasn't", "weren't", "won't", "wouldn't", "can't"),
    *("couldn't", "shouldn't", "hasn't", "haven't", "hadn't"),
)
"""Words that deny: contracted ones whole, and as treebanks cut them off."""
_CUT_OFF = r"^'(s|m|d|t|re|ve|ll)$"
_BETWEEN_WORDS = r"[^\p{L}\p{N}']+"
_QUANTILES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Feature:
    """One feature: its kind, the column (or columns) that it is of, and what it says."""

    kind: str
    column: str
    text: str


@dataclass(frozen=True)
class Features:
    """All features of n rows; ``row`` and ``feature``, (N,), name each pair once."""

    rows: int
    names: tuple[Feature, ...]
    row: Whole
    feature: Whole


@dataclass(frozen=True)
class Words:
    """The words of a column in lower case: numbers into one vocabulary, row by row, each row's in their order."""

    row: Whole
    word: Whole
    vocabulary: np.ndarray
    rows: int

    @property
    def counts(self) -> Whole:
        """Return the words of each row, (n,)."""
        return np.bincount(self.row, minlength=self.rows)

    def any_of(self, chosen: Flags) -> Flags:
        """Return which rows have one of the chosen words, (n,); ``chosen`` is (V,)."""
        found = np.zeros(self.rows, dtype=bool)
        found[self.row[chosen[self.word]]] = True
        return found


def features(texts: Sequence[tuple[str, ...]], columns: Sequence[str], *, least: int) -> Features:
    """Find all features that ``least`` rows have, or more."""
    raw = [pa.array([row[place] for row in texts], pa.large_string()) for place in range(len(columns))]
    words = _words(raw)
    parts: list[tuple[Feature, Whole]] = []
    for name, text, own in zip(columns, raw, words, strict=True):
        parts += _flags([*_lengths(name, own.counts), *_signs(name, text, own)], least)
        parts += _first_words(name, own, least)
        parts += _vocabulary(name, own, least)
    for a in range(len(columns)):
        for b in range(a + 1, len(columns)):
            parts += _flags(_pair(columns[a], columns[b], words[a], words[b]), least)
    names = tuple(name for name, _ in parts)
    sizes = [len(rows) for _, rows in parts]
    row = np.concatenate([rows for _, rows in parts]) if parts else np.empty(0, dtype=np.int64)
    return Features(len(texts), names, row, np.repeat(np.arange(len(names)), sizes))


def _words(columns: Sequence[pa.Array]) -> list[Words]:
    """Cut columns into words, in one pass of Arrow over each."""
    flat, rows = [], []
    for text in columns:
        plain = pc.replace_substring(pc.utf8_lower(text), pattern="\N{RIGHT SINGLE QUOTATION MARK}", replacement="'")
        lists = pc.split_pattern_regex(plain, pattern=_BETWEEN_WORDS)
        # Quotes of one sign are no part of a word; what treebanks cut off ("'s", "'ll") keeps its own.
        words = pc.utf8_rtrim(pc.list_flatten(lists), characters="'")
        cut_off = pc.match_substring_regex(words, pattern=_CUT_OFF)
        words = pc.if_else(cut_off, words, pc.utf8_ltrim(words, characters="'"))
        there = pc.not_equal(words, "")
        flat.append(pc.filter(words, there))
        rows.append(pc.list_parent_indices(lists).to_numpy()[there.to_numpy(zero_copy_only=False)].astype(np.int64))
    coded = pa.concat_arrays(flat).dictionary_encode()
    numbers = coded.indices.to_numpy().astype(np.int64)
    vocabulary = coded.dictionary.to_numpy(zero_copy_only=False)
    cuts = np.cumsum([len(one) for one in rows])[:-1]
    return [
        Words(row, word, vocabulary, len(columns[0])) for row, word in zip(rows, np.split(numbers, cuts), strict=True)
    ]


def _flags(found: Sequence[tuple[Feature, Flags]], least: int) -> list[tuple[Feature, Whole]]:
    rows = [(name, np.flatnonzero(flags)) for name, flags in found]
    return [(name, own) for name, own in rows if len(own) >= least]


def _lengths(column: str, counts: Whole) -> list[tuple[Feature, Flags]]:
    """Cut lengths at the quintiles of these rows."""
    edges = np.unique(np.quantile(counts, _QUANTILES, method="lower"))
    lows = [0, *(int(edge) + 1 for edge in edges)]
    found = []
    for low, high in zip(lows, [*(int(edge) for edge in edges), None], strict=True):
        flags = (counts >= low) & (True if high is None else counts <= high)
        text = (
            f"{low} words or more" if high is None else f"at most {high} words" if not low else f"{low} to {high} words"
        )
        found.append((Feature("length", column, text), flags))
    return found


def _signs(column: str, text: pa.Array, words: Words) -> list[tuple[Feature, Flags]]:
    def has(pattern: str) -> Flags:
        return np.asarray(pc.match_substring_regex(text, pattern=pattern).to_numpy(zero_copy_only=False), dtype=bool)

    return [
        (Feature("negation", column, "has a negation"), words.any_of(_negated(words))),
        (Feature("sign", column, "has a digit"), has(r"\p{Nd}")),
        (Feature("sign", column, "has a question mark"), has(r"\?")),
        (Feature("sign", column, "has quotation marks"), has("[\"“”]|``|''")),
        (Feature("sign", column, "ends without a stop"), ~has(r"[.!?]['\"”)\s]*$")),
    ]


def _negated(words: Words) -> Flags:
    return np.isin(words.vocabulary.astype(object), np.array(NEGATIONS, dtype=object))


def _first_words(column: str, words: Words, least: int) -> list[tuple[Feature, Whole]]:
    first = np.flatnonzero(np.diff(words.row, prepend=-1))
    return _grouped("first word", column, words.row[first], words.word[first], words.vocabulary, least)


def _vocabulary(column: str, words: Words, least: int) -> list[tuple[Feature, Whole]]:
    """Find the words of a column, and its pairs of neighbours, that enough rows have."""
    size = len(words.vocabulary)
    single = _distinct(words.row * size + words.word)
    often = np.bincount(single % size, minlength=size) >= least
    kept = single[often[single % size]]
    found = _grouped("word", column, kept // size, kept % size, words.vocabulary, least)
    # A pair cannot be more frequent than either of its words.
    beside = (words.row[1:] == words.row[:-1]) & often[words.word[1:]] & often[words.word[:-1]]
    codes, pair = np.unique(words.word[:-1][beside] * size + words.word[1:][beside], return_inverse=True)
    if not len(codes):
        return found
    both = _distinct(words.row[1:][beside] * len(codes) + pair)
    enough = np.bincount(both % len(codes), minlength=len(codes)) >= least
    both = both[enough[both % len(codes)]]
    wanted = np.flatnonzero(enough)
    names = np.empty(len(codes), dtype=object)
    names[wanted] = [f"{words.vocabulary[c // size]} {words.vocabulary[c % size]}" for c in codes[wanted].tolist()]
    return found + _grouped("word pair", column, both // len(codes), both % len(codes), names, least)


def _grouped(
    kind: str, column: str, rows: Whole, codes: Whole, names: np.ndarray, least: int
) -> list[tuple[Feature, Whole]]:
    """Gather the rows of each code that ``least`` rows have."""
    if not len(codes):
        return []
    order = np.argsort(codes, kind="stable")
    found, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
    parts = np.split(rows[order], starts[1:])
    return [
        (Feature(kind, column, str(names[code])), part)
        for code, part, count in zip(found.tolist(), parts, counts, strict=True)
        if count >= least
    ]


def _distinct(keys: Whole) -> Whole:
    """Return each key once, sorted: a plain sort is several times as fast here as the hash table of ``np.unique``."""
    keys = np.sort(keys)
    return np.asarray(keys[np.diff(keys, prepend=-1) != 0])


def _pair(a: str, b: str, first: Words, second: Words) -> list[tuple[Feature, Flags]]:
    """Describe how two columns go together: the heuristics of HANS (McCoy et al. 2019), and what is like them."""
    size = len(first.vocabulary)
    own, other = (_distinct(one.row * size + one.word) for one in (second, first))
    shared = own[np.isin(own, other, assume_unique=True)]
    distinct = np.bincount(own // size, minlength=second.rows)
    share = np.bincount(shared // size, minlength=second.rows) / np.maximum(distinct, 1)
    whole = (share == 1.0) & (distinct > 0)
    lost = np.setdiff1d(own, shared, assume_unique=True)
    number = np.array([any(sign.isdigit() for sign in word) for word in first.vocabulary.tolist()], dtype=bool)
    new_number = np.zeros(second.rows, dtype=bool)
    new_number[(lost // size)[number[lost % size]]] = True
    negations = [one.any_of(_negated(one)) for one in (first, second)]
    kind, both = "overlap", f"{a} + {b}"
    return [
        (Feature(kind, both, f"every word of {b} is in {a}"), whole),
        (Feature(kind, both, f"{b} stands in {a} as it is"), _contiguous(first, second, whole)),
        (Feature(kind, both, f"three quarters of the words of {b}, not all, are in {a}"), (share >= 0.75) & ~whole),
        (
            Feature(kind, both, f"half to three quarters of the words of {b} are in {a}"),
            (share >= 0.5) & (share < 0.75),
        ),
        (Feature(kind, both, f"under half of the words of {b} are in {a}"), (share < 0.5) & (share > 0)),
        (Feature(kind, both, f"no word of {b} is in {a}"), share == 0),
        (Feature(kind, both, f"a number of {b} is not in {a}"), new_number),
        (Feature("negation", both, f"a negation in {b} alone"), negations[1] & ~negations[0]),
        (Feature("negation", both, f"a negation in {a} alone"), negations[0] & ~negations[1]),
        (Feature("length", both, f"{b} is longer than {a}"), second.counts > first.counts),
    ]


def _contiguous(first: Words, second: Words, candidates: Flags) -> Flags:
    """Return the rows whose second text stands in the first, word for word; only ``candidates`` can."""
    found = np.zeros(first.rows, dtype=bool)
    bounds = [np.concatenate([[0], np.cumsum(one.counts)]).tolist() for one in (first, second)]
    for row in np.flatnonzero(candidates).tolist():
        whole, part = (
            " ".join(map(str, one.word[places[row] : places[row + 1]].tolist()))
            for one, places in zip((first, second), bounds, strict=True)
        )
        found[row] = f" {part} " in f" {whole} "
    return found

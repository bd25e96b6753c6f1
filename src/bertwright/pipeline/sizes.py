"""A small table to choose a tokenizer's size by: what each one would make of the user's own text."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertwright.errors import DataError, InputError
from bertwright.pipeline.preflight import sources_of
from bertwright.pipeline.run import as_recipe
from bertwright.recipe.sections import Recipe
from bertwright.recipe.text import Tokenizer
from bertwright.stages.prepare import cleaning_of
from bertwright.text.documents import Troubles
from bertwright.text.sources import expand
from bertwright.text.string_counts import StringCounts
from bertwright.text.tokenizer import count_strings, train_on

# Bytes of text that the table is made from, the beginnings of all files.
_BYTES = 100_000_000


@dataclass(frozen=True)
class SizeRow:
    """One size: tokens a word, the share of words with an unknown part, the share of the parameters in word embeddings.

    Words are what stands between spaces. ``why`` says why there is no tokenizer of that size; then the rest is 0.
    """

    vocabulary: int
    tokens_per_word: float = 0.0
    unknown: float = 0.0
    embeddings: float = 0.0
    parameters: int = 0
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def compare_sizes(source: Recipe | str | Path | Mapping[str, Any], vocabularies: Sequence[int]) -> list[SizeRow]:
    """Train a tokenizer of each size on up to 100 MB of the recipe's files and say what it does to that text."""
    recipe = as_recipe(source)
    if recipe.prepare is None or not sources_of(recipe.prepare):
        raise InputError("sizes are compared on files of text, and the recipe names none; add prepare.sources")
    choice = recipe.tokenizer or Tokenizer()
    counted = count_strings(_texts(recipe), kind=choice.kind, lowercase=choice.lowercase)
    return [_row(recipe, choice, counted, vocabulary) for vocabulary in vocabularies]


def _row(recipe: Recipe, choice: Tokenizer, counted: StringCounts, vocabulary: int) -> SizeRow:
    try:
        tokenizer = train_on(counted, kind=choice.kind, vocabulary=vocabulary, lowercase=choice.lowercase)
    except DataError as error:
        return SizeRow(vocabulary, why=str(error))
    strings = list(counted.counts)
    tokens = unknown = 0
    for string, ids in zip(strings, tokenizer.encode(strings), strict=True):
        tokens += counted.counts[string] * len(ids)
        unknown += counted.counts[string] * (tokenizer.unk_id in ids)
    # Torch comes with these, and counting an encoder's parameters is all that it is needed for.
    measure = importlib.import_module("bertwright.stages.measure")
    starting = importlib.import_module("bertwright.stages.starting")
    config = starting.shape_of(recipe.encoder.model_dump(mode="json"), vocabulary, 0)
    parameters, words = measure.count_parameters(config), max(1, counted.counts.total())
    return SizeRow(vocabulary, tokens / words, unknown / words, vocabulary * config.width / parameters, parameters)


def _texts(recipe: Recipe) -> Iterator[str]:
    """Give documents from the beginning of each file, of larger files more."""
    prepare = recipe.prepare
    if prepare is None:
        return
    files = expand(sources_of(prepare))
    cleaning = cleaning_of(prepare.model_dump())
    size = max(1, sum(file.path.stat().st_size for file in files))
    for file in files:
        left = _BYTES * file.path.stat().st_size // size
        for text in cleaning.documents(
            file, errors=prepare.errors, broken_rows=prepare.broken_rows, troubles=Troubles(), room=_BYTES
        ):
            yield text
            left -= len(text)
            if left <= 0:
                break

"""What a pretraining begins with: a fresh model, or a given one; and whether the rows go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig, shape
from bertwright.encoder.heads import MaskedLMHead
from bertwright.encoder.models import MaskedLM, build_masked_lm, initialise
from bertwright.errors import DataError, InputError
from bertwright.stages.work import Work
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer


@dataclass
class Start:
    """The model a pretraining begins with, and what has to be said about it."""

    model: MaskedLM
    notes: list[str]
    fresh_head: bool


def starting_model(work: Work, tokenizer: Tokenizer) -> Start:
    """Return a fresh model, or the given folder's with a fresh head where it has none."""
    seed = work.options["seed"]
    if "start" not in work.inputs:
        return Start(build_masked_lm(fresh_config(work.options["encoder"], tokenizer), seed=seed), [], False)
    loaded = families.load(work.inputs["start"])
    fresh = loaded.masked_lm_head is None
    head = loaded.masked_lm_head or initialise(MaskedLMHead(loaded.config), seed=seed)
    return Start(MaskedLM(loaded.encoder, head, loaded.pooler), list(loaded.notes), fresh)


def fresh_config(choice: Mapping[str, Any], tokenizer: Tokenizer) -> EncoderConfig:
    """Return the shape that a recipe's encoder section means with this tokenizer."""
    return shape_of(choice, tokenizer.vocabulary, tokenizer.pad_id)


def shape_of(choice: Mapping[str, Any], vocabulary: int, pad_id: int) -> EncoderConfig:
    """Return the shape that a recipe's encoder section means with a vocabulary of this size."""
    overrides = {name: choice.get(name) for name in ("layers", "width", "heads", "inner", "positions")}
    return shape(choice["family"], choice["size"], vocabulary=vocabulary, pad_id=pad_id, **overrides)


def check_rows(rows: Shards, tokenizer: Tokenizer, config: EncoderConfig) -> None:
    """Refuse rows that this tokenizer did not write or this encoder cannot take."""
    if rows.tokenizer_identity != tokenizer.identity():
        raise DataError("the prepared rows were written with another tokenizer; prepare the text again with this one")
    if tokenizer.vocabulary > config.vocabulary:
        raise InputError(
            f"the tokenizer has {tokenizer.vocabulary} pieces and the encoder's table {config.vocabulary} rows; "
            "use the tokenizer of the encoder's folder (leave the tokenizer section out)"
        )
    if rows.row_length > config.positions:
        raise InputError(
            f"prepare.row_length is {rows.row_length} and the encoder takes at most {config.positions} tokens; "
            f"set prepare.row_length to {config.positions} or less"
        )

"""What a pretraining begins with: a fresh model, or a given one; and whether the rows go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig, shape
from bertwright.encoder.heads import MaskedLMHead
from bertwright.encoder.models import MaskedLM, build_masked_lm, initialise
from bertwright.errors import InputError
from bertwright.stages.work import Work
from bertwright.text.extending import is_extension
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.masked_rows import Rows

_COUNTED = 20_000  # rows that frequencies are counted in


@dataclass
class Start:
    """The model a pretraining begins with, and what has to be said about it."""

    model: MaskedLM
    notes: list[str]
    fresh_head: bool


def starting_model(work: Work, tokenizer: Tokenizer, rows: Shards) -> Start:
    """Return a fresh model, or the given folder's with a fresh head where it has none.

    A fresh head begins with the words' frequencies.
    """
    seed = work.options["seed"]
    if "start" not in work.inputs:
        model = build_masked_lm(fresh_config(work.options["encoder"], tokenizer), seed=seed)
        begin_at_frequencies(model.head, rows, tokenizer)
        return Start(model, [], False)
    loaded = families.load(work.inputs["start"])
    fresh = loaded.masked_lm_head is None
    head = loaded.masked_lm_head or initialise(MaskedLMHead(loaded.config), seed=seed)
    start = Start(MaskedLM(loaded.encoder, head, loaded.pooler), list(loaded.notes), fresh)
    if own := _extended_from(work, tokenizer):
        add_pieces(start.model, own, tokenizer)
        start.notes.append(
            f"{tokenizer.vocabulary - own.vocabulary} pieces are new; each began as the mean of the pieces that "
            "its word was cut into."
        )
    if fresh:
        begin_at_frequencies(start.model.head, rows, tokenizer)  # behind the new pieces: the rows have them
    return start


def starting_config(work: Work, tokenizer: Tokenizer) -> EncoderConfig:
    """Return the shape of the model that a pretraining begins with."""
    if "start" not in work.inputs:
        return fresh_config(work.options["encoder"], tokenizer)
    config = families.read_config(work.inputs["start"])
    if _extended_from(work, tokenizer):
        return replace(config, vocabulary=max(config.vocabulary, tokenizer.vocabulary))
    return config


def begin_at_frequencies(head: MaskedLMHead, rows: Rows, tokenizer: Tokenizer) -> None:
    """Set a head's bias to the logarithm of each piece's share of the text, counted in a sample of the rows.

    A model that has seen nothing then predicts each piece as often as it comes, in place of learning that first.
    """
    count = rows.rows("train")
    sample = rows.ids("train", np.linspace(0, count - 1, min(count, _COUNTED)).astype(np.int64))
    pieces = np.bincount(sample.reshape(-1).astype(np.int64), minlength=len(head.bias)).astype(np.float64)
    pieces[sorted(tokenizer.special_ids)] = 0.0
    shares = (pieces + 0.5) / (pieces.sum() + 0.5 * len(pieces))  # what did not come may still
    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(np.log(shares)))


def _extended_from(work: Work, tokenizer: Tokenizer) -> Tokenizer | None:
    """Return the given folder's own tokenizer where this one adds to it."""
    folder = work.inputs["start"]
    if not (folder / "tokenizer.json").is_file():
        return None
    own = Tokenizer.load(folder)
    return own if is_extension(tokenizer, own) else None


@torch.no_grad()
def add_pieces(model: MaskedLM, old: Tokenizer, new: Tokenizer) -> None:
    """Give a model a row for each piece that ``new`` has more than ``old``: the mean of its old pieces' rows.

    The same goes for the bias of the prediction head. Spare rows behind the old pieces are used first.
    """
    words, bias = model.encoder.embeddings.words.weight, model.head.bias
    missing = max(0, new.vocabulary - len(words))
    table = torch.cat([words, words.new_zeros(missing, words.shape[1])])
    biases = torch.cat([bias, bias.new_zeros(missing)])
    pieces = new.pieces()[old.vocabulary :]
    for number, ids in enumerate(old.encode(pieces), start=old.vocabulary):
        table[number], biases[number] = words[ids].mean(dim=0), bias[ids].mean()
    rows, width = table.shape
    model.encoder.embeddings.words = torch.nn.Embedding(rows, width, _weight=table)
    model.head.bias = torch.nn.Parameter(biases)
    model.encoder.config = replace(model.encoder.config, vocabulary=len(table))


def fresh_config(choice: Mapping[str, Any], tokenizer: Tokenizer) -> EncoderConfig:
    """Return the shape that a recipe's encoder section means with this tokenizer."""
    return shape_of(choice, tokenizer.vocabulary, tokenizer.pad_id)


def shape_of(choice: Mapping[str, Any], vocabulary: int, pad_id: int) -> EncoderConfig:
    """Return the shape that a recipe's encoder section means with a vocabulary of this size."""
    overrides = {name: choice.get(name) for name in ("layers", "width", "heads", "inner", "positions")}
    return shape(choice["family"], choice["size"], vocabulary=vocabulary, pad_id=pad_id, **overrides)


def check_rows(rows: Shards, tokenizer: Tokenizer, config: EncoderConfig) -> None:
    """Refuse rows that this tokenizer did not write or this encoder cannot take."""
    rows.check_tokenizer(tokenizer)
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

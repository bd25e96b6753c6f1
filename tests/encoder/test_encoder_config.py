"""Shapes: sizes by name, what cannot be built, and what a token costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from toy_encoders import config

from bertwright.encoder.config import FAMILIES, SIZES, EncoderConfig, body_weights, flops_per_token, shape, size_name
from bertwright.encoder.models import build_masked_lm
from bertwright.encoder.names import NAMES
from bertwright.encoder.ordinary_config import config_of
from bertwright.encoder.stack import Encoder
from bertwright.errors import InputError


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # V H + 514 H + 2 H + N (4 H H + 2 H F + 9 H + F) + H H + H, with V 30522: tables, norm, blocks, pooler.
        ("tiny", 4_385_920),
        ("mini", 11_170_560),
        ("small", 28_763_648),
        ("medium", 41_373_184),
        ("base", 109_482_240),
        ("large", 335_141_888),
    ],
)
def test_sizes_by_name_are_those_of_bert(size: str, expected: int) -> None:
    """A size by name, with BERT's vocabulary, has BERT's number of parameters."""
    with torch.device("meta"):
        encoder = Encoder(shape("bert", size, vocabulary=30522, pad_id=0))
    pooler = encoder.config.width * (encoder.config.width + 1)
    assert expected == sum(p.numel() for p in encoder.parameters()) + pooler


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
def test_every_size_fits_every_family(family: str, size: str) -> None:
    """Each size by name is a shape of each family, and keeps the overrides that are not empty."""
    found = shape(family, size, vocabulary=100, pad_id=1, layers=3, width=None, positions=77)
    assert (3, SIZES[size][1], 77, 1) == (found.layers, found.width, found.positions, found.pad_id)
    assert {"bert": 2, "bert-preln": 2, "roberta": 1}.get(family, 0) == found.segments


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_known_by_its_shape(size: str) -> None:
    """A shape made from a size has that name; with another number of layers it has none."""
    assert size == size_name(shape("bert", size, vocabulary=100, pad_id=0))
    assert size_name(shape("bert", size, vocabulary=100, pad_id=0, layers=7)) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shape_comes_back_from_plain_values(family: str) -> None:
    """A config written as JSON is the config that was written; keys it does not know are left alone."""
    values = json.loads(json.dumps(config(family).as_dict()))
    assert config(family) == EncoderConfig.from_dict(values | {"another": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "gpt"}, "family 'gpt' is not known; the families are bert, bert-preln, modern"),
        ({"heads": 5}, r"encoder.width 32 is not a multiple of encoder.heads 5; choose heads that divide it"),
        ({"family": "modern", "width": 20}, "needs an even width, found 5"),
        ({"pad_id": 61}, "padding id 61 is not in a vocabulary of 61"),
        ({"pooling": "max"}, "pooling 'max' is not known; it is cls or mean"),
    ],
)
def test_shapes_that_cannot_be_built_are_refused(changes: dict[str, Any], message: str) -> None:
    """What is wrong with a shape is said with what would be right."""
    with pytest.raises(InputError, match=message):
        config(**({"family": "bert"} | changes))


def test_unknown_sizes_are_refused() -> None:
    """A size that does not exist is answered with those that do."""
    with pytest.raises(InputError, match="size 'huge' is not known; the sizes are tiny, mini, small"):
        shape("bert", "huge", vocabulary=10, pad_id=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_body_weights_are_the_blocks_matrices(family: str) -> None:
    """The count from the shape is the count of the blocks' matrices that are really there."""
    blocks = build_masked_lm(config(family), seed=0).encoder.blocks
    assert body_weights(config(family)) == sum(p.numel() for p in blocks.parameters() if p.dim() == 2)


def test_cost_of_a_token_by_hand() -> None:
    """Six for each body weight and each used head weight, 12 N H T for attention: mini at length 128."""
    mini = shape("bert", "mini", vocabulary=30000, pad_id=0)
    body = 6 * 4 * (4 * 256**2 + 2 * 256 * 1024)
    attention = 12 * 4 * 256 * 128
    head = 6 * (256**2 + 256 * 30000)
    assert body + attention + 0.15 * head == pytest.approx(flops_per_token(mini, 128, 0.15))


@pytest.mark.parametrize("family", FAMILIES)
def test_position_rows(family: str) -> None:
    """RoBERTa's table has rows up to its padding id on top, RoPE has no table."""
    expected = {"roberta": 42, "modern": 0}.get(family, 40)
    assert expected == config(family).position_rows
    table = Encoder(config(family)).embeddings.positions
    assert expected == (0 if table is None else table.num_embeddings)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_config_leaves_out_is_what_transformers_takes(family: str) -> None:
    """A config.json that names the five sizes alone has the ordinary class's segments, positions and norm."""
    names = NAMES[family]
    theirs = transformers.AutoConfig.for_model(names.model_type)
    sizes = ("vocabulary", "width", "layers", "heads", "inner")
    given = {key: getattr(theirs, key) for key, ours in names.settings.items() if ours in sizes}
    ours = config_of({"model_type": names.model_type, **given}, Path("folder"))
    rows = ours.positions if family == "modern" else ours.position_rows
    assert (getattr(theirs, "type_vocab_size", 0), theirs.max_position_embeddings) == (ours.segments, rows)
    assert getattr(theirs, "norm_eps", getattr(theirs, "layer_norm_eps", 1e-12)) == ours.norm_eps

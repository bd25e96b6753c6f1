"""Encoders without biases get zeros: they answer as before, and the ordinary class reads what is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from toy_encoders import config, ordinary, ordinary_inputs, rows

from bertwright.encoder import families
from bertwright.encoder.models import MaskedLM
from bertwright.errors import DataError

SHAPE = config("modern")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An ordinary folder of the modern family as it comes: with no bias but the decoder's."""
    settings = transformers.ModernBertConfig(
        vocab_size=SHAPE.vocabulary,
        hidden_size=SHAPE.width,
        num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads,
        intermediate_size=SHAPE.inner,
        max_position_embeddings=SHAPE.positions,
        local_attention=SHAPE.local_window,
        global_attn_every_n_layers=SHAPE.global_every,
        pad_token_id=SHAPE.pad_id,
        bos_token_id=2,
        cls_token_id=2,
        eos_token_id=3,
        sep_token_id=3,
    )
    torch.manual_seed(0)
    transformers.ModernBertForMaskedLM(settings).save_pretrained(tmp_path / "bare")
    return tmp_path / "bare"


def test_an_encoder_without_biases_is_refused_with_the_choice_that_adds_them(bare: Path) -> None:
    """Not read as if it had them."""
    with pytest.raises(DataError, match="_bias = False; bertwright reads only True; `encoder.add_missing: true` adds"):
        families.load(bare)


def test_step_zero_is_unchanged_and_the_saved_folder_reloads(bare: Path, tmp_path: Path) -> None:
    """Ours with zeros, the given folder and the saved one answer alike; the switches of the saved one are on."""
    loaded, batch = families.load(bare, add_missing=True), rows(SHAPE)
    assert loaded.masked_lm_head is not None
    model = MaskedLM(loaded.encoder, loaded.masked_lm_head).eval()
    families.save(tmp_path / "whole", model, special_ids={"bos": 2, "eos": 3, "cls": 2, "sep": 3})
    inputs = ordinary_inputs(batch, SHAPE)
    with torch.no_grad():
        expected = ordinary(bare, "AutoModelForMaskedLM")(**inputs).logits
        ours = model(batch["ids"], batch["mask"]).view_as(expected)
        again = ordinary(tmp_path / "whole", "AutoModelForMaskedLM")
        theirs = again(**inputs).logits
    real = batch["mask"]
    torch.testing.assert_close(expected[real], ours[real], atol=1e-5, rtol=0)
    torch.testing.assert_close(expected[real], theirs[real], atol=1e-5, rtol=0)
    assert (True, True, True) == (again.config.attention_bias, again.config.mlp_bias, again.config.norm_bias)
    # Each of four layers: qkv, output, both of the feed-forward layer, two norms (one in the first); and five outside.
    assert any("biases that the folder lacks were added" in note for note in loaded.notes)


def test_every_bias_that_was_added_is_zero_and_none_was_there(bare: Path) -> None:
    """A whole encoder's biases, all of them nothing."""
    loaded = families.load(bare, add_missing=True)
    assert not any(bool(value.any()) for name, value in loaded.encoder.named_parameters() if name.endswith("bias"))


def test_other_families_come_as_they_are(tmp_path: Path) -> None:
    """An encoder that has biases keeps them."""
    from bertwright.encoder.models import build_masked_lm

    model = build_masked_lm(config("bert"), seed=0)
    for parameter in model.parameters():
        parameter.data += 0.1
    families.save(tmp_path, model, special_ids={})
    loaded = families.load(tmp_path, add_missing=True)
    assert all(torch.equal(a, b) for a, b in zip(model.encoder.parameters(), loaded.encoder.parameters(), strict=True))
    assert any("changed nothing" in note for note in loaded.notes)

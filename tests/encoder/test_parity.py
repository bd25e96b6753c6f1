"""Our encoder against the ordinary classes, family by family, at toy size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bertwright.encoder import families
from bertwright.encoder.config import FAMILIES, EncoderConfig
from bertwright.encoder.models import Classifier, MaskedLM, build_classifier, build_masked_lm

SPECIAL = {"bos": 2, "eos": 3, "cls": 2, "sep": 3}


def config(family: str, **changes: Any) -> EncoderConfig:
    """Return a toy shape; rows of 24 tokens are longer than the modern family's window."""
    values = {
        "family": family,
        "vocabulary": 61,
        "width": 32,
        "layers": 4,
        "heads": 4,
        "inner": 48,
        "positions": 40,
        "segments": {"bert": 2, "bert-preln": 2, "roberta": 1}.get(family, 0),
        "norm_eps": 1e-5 if family in ("modern", "roberta") else 1e-12,
        "pad_id": 1 if family == "roberta" else 0,
        "local_window": 8,
        "global_every": 3,
    }
    return EncoderConfig(**{**values, **changes})


def rows(shape: EncoderConfig, length: int = 24) -> dict[str, torch.Tensor]:
    """Return four rows of ids with padding behind three of them, and segment ids for the second half."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, shape.vocabulary, (4, length), generator=generator)
    mask = torch.arange(length)[None, :] < torch.tensor([length, length - 5, 9, 3])[:, None]
    ids = torch.where(mask, ids, shape.pad_id)
    segments = (torch.arange(length)[None, :] >= length // 2).long().expand(4, -1) * mask
    return {"ids": ids, "mask": mask, "segments": segments if shape.segments > 1 else torch.zeros_like(segments)}


def shaken(model: Any) -> Any:
    """Move every parameter away from its start, so that no bias is 0 and no gain 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def ordinary(folder: Path, kind: str) -> Any:
    """Load a folder with an ordinary auto class."""
    auto = getattr(transformers, kind)
    return auto.from_pretrained(folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32).eval()


def ordinary_inputs(batch: dict[str, torch.Tensor], shape: EncoderConfig) -> dict[str, torch.Tensor]:
    """Return a batch under the ordinary names."""
    inputs = {"input_ids": batch["ids"], "attention_mask": batch["mask"].long()}
    return inputs | ({"token_type_ids": batch["segments"]} if shape.segments > 1 else {})


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_words_and_gradients_equal_the_ordinary_class(family: str, tmp_path: Path) -> None:
    """Logits agree to 1e-5 and every gradient to 1e-4, relative, with padding and two segments."""
    shape = config(family)
    ours: MaskedLM = shaken(build_masked_lm(shape, seed=0))
    families.save(tmp_path, ours, special_ids=SPECIAL)
    theirs, batch = ordinary(tmp_path, "AutoModelForMaskedLM"), rows(shape)
    found = ours(**batch).view(4, 24, -1)
    expected = theirs(**ordinary_inputs(batch, shape)).logits
    torch.testing.assert_close(found[batch["mask"]], expected[batch["mask"]], atol=1e-5, rtol=1e-5)

    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)) * batch["mask"][:, :, None]
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    gradients = families.ordinary_tensors(ours, {name: p.grad for name, p in ours.named_parameters()})
    for name, parameter in theirs.named_parameters():
        # The key's bias has no effect (softmax ignores it): its gradient is rounding, so a floor stands under the scale.
        scale = parameter.grad.abs().max().clamp(min=1e-2)
        assert float((gradients[name] - parameter.grad).abs().max() / scale) < 1e-4, name


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_the_ordinary_class(family: str, tmp_path: Path) -> None:
    """A classifier's logits agree to 1e-5."""
    shape = config(family)
    ours: Classifier = shaken(build_classifier(shape, 3, seed=0))
    families.save(tmp_path, ours, special_ids=SPECIAL, labels=("a", "b", "c"), problem="classification")
    theirs, batch = ordinary(tmp_path, "AutoModelForSequenceClassification"), rows(shape)
    expected = theirs(**ordinary_inputs(batch, shape)).logits
    torch.testing.assert_close(ours(**batch), expected, atol=1e-5, rtol=1e-5)
    assert {0: "a", 1: "b", 2: "c"} == theirs.config.id2label

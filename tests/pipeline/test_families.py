"""Every family goes the whole road, and its folders take what their own tokenizer gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

import bertwright
from bertwright.encoder.config import FAMILIES

Toy = Callable[..., Path]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_pretrained_fine_tuned_and_used_without_bertwright(toy: Toy, family: str) -> None:
    """The saved encoder and classifier run on their saved tokenizer's output for a sentence and a pair."""
    path = toy(encoder={"family": family}, pretrain={"budget": "3 steps"}, finetune={"seeds": 1, "baseline": False})
    result = bertwright.run(path)
    classifier = result.folder / "tasks" / "height" / "pretrained" / "seed-0"
    tokenizer = transformers.AutoTokenizer.from_pretrained(classifier, local_files_only=True)
    for folder, auto in (
        (result.folder / "encoder", transformers.AutoModelForMaskedLM),
        (result.folder / "encoder", transformers.AutoModel),
        (classifier, transformers.AutoModelForSequenceClassification),
    ):
        model = auto.from_pretrained(folder, local_files_only=True)
        with torch.no_grad():
            model(**tokenizer(["balan koren", "mi"], padding=True, return_tensors="pt"))
            model(**tokenizer([("balan", "koren")], return_tensors="pt"))

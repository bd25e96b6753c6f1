"""Toy shapes and rows that all tests of the encoder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from bertwright.encoder.config import EncoderConfig

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
    }
    if family == "modern":
        values |= {"local_window": 8, "global_every": 3}
    return EncoderConfig(**{**values, **changes})


def rows(shape: EncoderConfig, length: int = 24) -> dict[str, torch.Tensor]:
    """Return four rows of ids with padding behind three of them, and segment 1 for their second half.

    Every family gets the segment ids: those without segments must not look at them.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, shape.vocabulary, (4, length), generator=generator)
    mask = torch.arange(length)[None, :] < torch.tensor([length, length - 5, 9, 3])[:, None]
    ids = torch.where(mask, ids, shape.pad_id)
    segments = (torch.arange(length)[None, :] >= length // 2).long().expand(4, -1) * mask
    return {"ids": ids, "mask": mask, "segments": segments}


def shaken(model: Any) -> Any:
    """Move every parameter away from its start, so that no bias is 0 and no gain 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def ordinary(folder: Path, kind: str) -> Any:
    """Load a folder with an ordinary auto class, evaluated and in fp32."""
    auto = getattr(transformers, kind)
    return auto.from_pretrained(folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32).eval()


def ordinary_inputs(batch: dict[str, torch.Tensor], shape: EncoderConfig) -> dict[str, torch.Tensor]:
    """Return a batch under the ordinary names."""
    inputs = {"input_ids": batch["ids"], "attention_mask": batch["mask"].long()}
    return inputs | ({"token_type_ids": batch["segments"]} if shape.segments > 1 else {})

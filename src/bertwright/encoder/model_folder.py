"""Model folders as stages leave them: weights, tokenizer, and the proof that the ordinary classes read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig, size_name
from bertwright.encoder.models import Classifier, MaskedLM
from bertwright.text.tokenizer import Tokenizer


def save_model(
    folder: Path,
    model: MaskedLM | Classifier,
    tokenizer: Tokenizer,
    *,
    labels: tuple[str, ...] | None = None,
    problem: str | None = None,
) -> dict[str, Any]:
    """Write an ordinary folder, load it with the ordinary class, compare outputs, and return what that gave."""
    config = model.encoder.config
    special = {"cls": tokenizer.cls_id, "sep": tokenizer.sep_id, "bos": tokenizer.cls_id, "eos": tokenizer.sep_id}
    families.save(folder, model, special_ids=special, labels=labels, problem=problem)
    tokenizer.save(folder, max_length=config.positions, segments=config.segments > 1)
    ids, mask, segments = _probe(config, tokenizer)
    return families.prove(folder, model, ids, mask, segments)


def facts(config: EncoderConfig, model: torch.nn.Module) -> dict[str, Any]:
    """Return what a reader of results wants to know of an encoder."""
    return {
        "family": config.family,
        "size": size_name(config),
        "shape": config.as_dict(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _probe(config: EncoderConfig, tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return three rows of drawn ids with padding and two segments: ids, mask and segments, each (3, T)."""
    length = min(24, config.positions)
    generator = np.random.Generator(np.random.Philox(key=[0, 0]))
    ordinary = np.setdiff1d(np.arange(tokenizer.vocabulary), sorted(tokenizer.special_ids))
    ids = torch.from_numpy(generator.choice(ordinary, (3, length)))
    ids[:, 0] = tokenizer.cls_id
    mask = torch.arange(length)[None, :] < torch.tensor([length, length - length // 4, length // 2])[:, None]
    ids = torch.where(mask, ids, tokenizer.pad_id)
    segments = (torch.arange(length)[None, :] >= length // 2).long().expand(3, -1) * mask
    return ids, mask, segments

"""Toy encoders and packs that all tests of packs share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bertwright.encoder.biases import locate, terms_in
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.families import Loaded
from bertwright.encoder.models import Classifier, build_classifier, build_masked_lm
from bertwright.encoder.packed import make_pack
from bertwright.pack import Pack, PackTask

TOKENIZER = "0123456789abcdef0123456789abcdef"


def config(family: str, **changes: Any) -> EncoderConfig:
    """Return a toy shape."""
    segments = {"bert": 2, "bert-preln": 2, "roberta": 1}.get(family, 0)
    values = {"family": family, "vocabulary": 61, "width": 16, "layers": 3, "heads": 2, "inner": 24, "positions": 40}
    values |= {"segments": segments, "local_window": 8, "pad_id": 1 if family == "roberta" else 0}
    return EncoderConfig(**{**values, **changes})


def loaded(family: str = "bert", *, seed: int = 0, pooler: bool | None = None, **changes: Any) -> Loaded:
    """Return an encoder as if read, no bias 0; with a pooler (or a masked-word head) where the family has one."""
    shape = config(family, **changes)
    model, generator = build_masked_lm(shape, seed=seed), torch.Generator().manual_seed(seed + 1)
    dense = nn.Linear(shape.width, shape.width)
    with torch.no_grad():
        for parameter in [*model.parameters(), *dense.parameters()]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    has = family in ("bert", "bert-preln", "modern") if pooler is None else pooler
    head = model.head if has or family != "modern" else None
    return Loaded(shape, model.encoder, head, dense if has and family != "modern" else None, None, None, ())


def trained(before: Loaded, classes: int, *, seed: int, size: float = 0.3, terms: Any = None) -> Classifier:
    """Return a classifier whose biases (those of ``terms``, or all) and output layer are others than the encoder's."""
    model = build_classifier(
        before.config,
        classes,
        seed=seed,
        encoder=loaded_again(before).encoder,
        pooler=before.pooler,
        masked_lm_head=before.masked_lm_head,
    ).eval()
    generator, parameters = torch.Generator().manual_seed(seed), dict(model.named_parameters())
    has = before.pooler is not None or (before.config.family == "modern" and before.masked_lm_head is not None)
    with torch.no_grad():
        for term in terms_in(before.config, pooler=has) if terms is None else terms:
            name, start, stop = locate(term, before.config)
            parameters[name][start:stop] += size * torch.randn(stop - start, generator=generator)
        for parameter in model.head.output.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def loaded_again(before: Loaded) -> Loaded:
    """Return a copy of an encoder, as a second reading gives it."""
    again = loaded(before.config.family, pooler=False)
    encoder = type(before.encoder)(before.config)
    encoder.load_state_dict(before.encoder.state_dict())
    parts = (before.masked_lm_head, before.pooler, before.classifier)
    return Loaded(before.config, encoder, *parts, again.labels, ())


def toy_task(name: str = "triage", classes: int = 3, **changes: Any) -> PackTask:
    """Return a task of so many labels."""
    labels = tuple(f"label {number}" for number in range(classes))
    return PackTask(
        **{"name": name, "kind": "classification", "text": ("note",), "labels": labels, "max_length": 24} | changes
    )


def toy_pack(before: Loaded, *, classes: int = 3, seed: int = 0, name: str = "triage", **changes: Any) -> Pack:
    """Return a pack of every bias, trained on a toy encoder."""
    values = {
        "tokenizer": TOKENIZER,
        "task": toy_task(name, classes),
        "method": "bitfit",
        "terms": "all",
        "dtype": "fp32",
    }
    return make_pack(before, trained(before, classes, seed=seed).state_dict(), **{**values, **changes})


def rows(shape: EncoderConfig, count: int = 6, length: int = 20) -> dict[str, Tensor]:
    """Return rows of ids, with padding behind all but the first, and segment 1 for their second half."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, shape.vocabulary, (count, length), generator=generator)
    mask = torch.arange(length)[None, :] < (length - 3 * torch.arange(count))[:, None].clamp(min=2)
    ids = torch.where(mask, ids, shape.pad_id)
    segments = (torch.arange(length)[None, :] >= length // 2).long().expand(count, -1) * mask
    return {"ids": ids, "mask": mask, "segments": segments}

"""Toy classifiers, batches and texts that the tests of this room share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xxhash

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.models import Classifier, build_classifier
from bertwright.text.tokenizer import Encoded

CLASSES = 3


def classifier(family: str = "bert", *, dropout: float = 0.0, seed: int = 0) -> Classifier:
    """Return a small classifier with no weight at its start, in training mode."""
    shape = EncoderConfig(
        family=family,
        vocabulary=61,
        width=16,
        layers=2,
        heads=2,
        inner=24,
        positions=40,
        segments={"bert": 2, "bert-preln": 2, "roberta": 1}.get(family, 0),
        norm_eps=1e-5 if family == "modern" else 1e-12,
        pad_id=1 if family == "roberta" else 0,
        dropout=dropout,
        attention_dropout=dropout,
    )
    model = build_classifier(shape, CLASSES, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.train()


def batch(rows: int = 4, length: int = 10, *, seed: int = 0, labels: torch.Tensor | None = None) -> dict[str, Any]:
    """Return a padded batch with an expert's logits and tokens as units."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([length - 2 * (row % 3) for row in range(rows)])
    mask = torch.arange(length)[None, :] < lengths[:, None]
    ids = torch.where(mask, torch.randint(5, 61, (rows, length), generator=generator), 0)
    places = torch.arange(1, length - 1)[None, :].expand(rows, -1)
    real = places < lengths[:, None] - 1
    return {
        "ids": ids,
        "mask": mask,
        "segments": torch.zeros_like(ids),
        "labels": torch.randint(0, CLASSES, (rows,), generator=generator) if labels is None else labels,
        "expert": torch.randn(rows, CLASSES, generator=generator),
        "teacher": torch.randn(rows, CLASSES, generator=generator),
        "unit_tokens": (places * real)[:, :, None],
        "unit_shares": real[:, :, None].float(),
        "unit_expert": torch.rand(rows, length - 2, generator=generator) * real,
        "count": rows,
        "tokens": int(lengths.sum()),
    }


def cut(whole: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Return some rows of a batch as a micro-batch."""
    part = {name: value[start:stop] if isinstance(value, torch.Tensor) else value for name, value in whole.items()}
    return part | {"count": stop - start}


class PieceTokenizer:
    """Cuts words at white space into pieces of ``size`` letters; ids are hashes of the pieces."""

    cls_id, sep_id, pad_id = 2, 3, 0

    def __init__(self, size: int) -> None:
        self.size = size

    def encode_with_offsets(self, texts: Any) -> list[Encoded]:
        """Return pieces with their characters."""
        found = []
        for text in texts:
            spans = []
            for start in range(len(text)):
                if not text[start].isspace() and (start == 0 or text[start - 1].isspace()):
                    end = next((i for i in range(start, len(text)) if text[i].isspace()), len(text))
                    spans += [(first, min(first + self.size, end)) for first in range(start, end, self.size)]
            ids = [5 + xxhash.xxh3_64_intdigest(text[a:b].encode()) % 50 for a, b in spans]
            found.append(Encoded(ids, spans))
        return found

    def encode(self, texts: Any) -> list[list[int]]:
        """Return ids alone."""
        return [one.ids for one in self.encode_with_offsets(texts)]


def saliency_of(count: int, seed: int = 0) -> np.ndarray:
    """Return drawn saliencies."""
    return np.random.default_rng(seed).random(count).astype(np.float32) + 0.1

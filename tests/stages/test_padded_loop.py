"""What a fine-tuning learns against the plain loop that everybody knows: transformers, padded, fp32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.models import build_classifier
from bertwright.encoder.stack import set_dropout
from bertwright.tasks.batches import Encoded, TrainBatches
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence
from bertwright.training.loop import train
from bertwright.training.losses import classification_loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.order import Place
from bertwright.training.ranks import Ranks
from bertwright.training.schedules import Schedule

_STEPS, _BATCH, _RATE = 20, 8, 1e-2
_SHAPE = EncoderConfig(family="bert", vocabulary=61, width=32, layers=3, heads=4, inner=48, positions=40)


def test_losses_are_those_of_a_padded_loop(tmp_path: Path) -> None:
    """Rows of like length, few widths, micro-batches: each step has the loss of full padding to 1e-5, dropout off."""
    model = build_classifier(_SHAPE, 3, seed=0)
    set_dropout(model, 0.0)
    families.save(tmp_path / "model", model, special_ids={}, labels=("a", "b", "c"), problem="classification")
    rows = _rows(_SHAPE.vocabulary)
    batches = TrainBatches(rows, batch=_BATCH, micro_batch=5, seed=1)
    train(
        model,
        batches,
        classification_loss,
        Optimizer(model.named_parameters(), name="adamw", settings=Settings(_RATE, 0.0)),
        schedule=Schedule("constant"),
        warmup=0.0,
        budget=Budget("steps", _STEPS),
        clip=1.0,
        seed=0,
        ranks=Ranks(),
        folder=tmp_path,
        metrics=tmp_path / "metrics.jsonl",
        cadence=Cadence(Budget("steps", _STEPS)),
    )
    found = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    expected = _padded(tmp_path / "model", rows, batches)
    assert _STEPS == len(found)
    assert expected[0] - expected[-1] > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)


def _rows(vocabulary: int) -> Encoded:
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 3, 40)
    ids = tuple(generator.integers(9, vocabulary, length) for length in generator.integers(3, 21, 40))
    for row, label in zip(ids, labels, strict=True):
        row[:2] = [3, 5 + label]
    return Encoded(ids, tuple((np.arange(len(row)) > 4).astype(np.int64) for row in ids), labels, 0, 0)


def _padded(folder: Path, rows: Encoded, batches: TrainBatches) -> list[float]:
    """Return a loss a step of the plain loop on the same batches, every row padded to the longest there can be."""
    model = transformers.BertForSequenceClassification.from_pretrained(folder).train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0)
    losses = []
    for step in range(_STEPS):
        chosen = np.concatenate([part["rows"] for part in batches.step(Place(step), 0, 1)])
        shape = (len(chosen), model.config.max_position_embeddings)
        ids, mask, segments = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
        for place, row in enumerate(chosen):
            length = len(rows.ids[row])
            ids[place, :length], mask[place, :length] = torch.from_numpy(rows.ids[row]), 1
            segments[place, :length] = torch.from_numpy(rows.segments[row])
        loss = model(
            ids, attention_mask=mask, token_type_ids=segments, labels=torch.from_numpy(rows.labels[chosen])
        ).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses

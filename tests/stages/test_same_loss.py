"""Batches without waste learn what the plain loop learns: every row padded to the full length, the ordinary class."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from toy_rows import sentences

from bertwright.encoder import families
from bertwright.encoder.models import Classifier
from bertwright.tasks.batches import Encoded, TrainBatches, lay_out
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.losses import classification_loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.order import Place

ROWS, BATCH, LENGTH, STEPS, RATE = 64, 16, 24, 4, 1e-3


@pytest.fixture
def rows(tokenizer: Tokenizer, model: Path) -> Encoded:
    """Rows of many lengths with labels."""
    draw = random.Random(0)
    texts = [(" ".join(text.split() * draw.randint(1, 3)),) for text in sentences(ROWS)]
    labels = np.array([draw.randrange(3) for _ in texts])
    return lay_out(texts, labels, tokenizer, families.read_config(model), LENGTH)


def ours(folder: Path, batches: TrainBatches) -> list[float]:
    """Return the mean loss of each step of our loop's parts, in fp32 and without dropout."""
    loaded = families.load(folder)
    assert loaded.classifier is not None
    model = Classifier(loaded.encoder, loaded.classifier).eval()
    optimizer = Optimizer(model.named_parameters(), name="adamw", settings=Settings(RATE, 0.0, betas=(0.9, 0.999)))
    losses = []
    for step in range(STEPS):
        total, count = 0.0, 0
        for batch in batches.step(Place(step, step * BATCH, 0.0), 0, 1):
            found = classification_loss(model, batch)
            found.total.backward()
            optimizer.accumulate()
            total, count = total + float(found.total.detach()), count + found.count
        optimizer.step(scale=1 / count, multiplier=1.0)
        losses.append(total / count)
    return losses


def plain(folder: Path, batches: TrainBatches, rows: Encoded) -> list[float]:
    """Return the losses of a loop around the ordinary class on the same rows, all padded to the full length."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)
    losses = []
    for step in range(STEPS):
        taken = torch.cat([batch["rows"] for batch in batches.step(Place(step, step * BATCH, 0.0), 0, 1)]).tolist()
        ids = torch.full((len(taken), LENGTH), rows.pad_id)
        mask = torch.zeros(len(taken), LENGTH, dtype=torch.long)
        for place, row in enumerate(taken):
            length = len(rows.ids[row])
            ids[place, :length], mask[place, :length] = torch.from_numpy(rows.ids[row]), 1
        labels = torch.from_numpy(rows.labels[taken])
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("micro_batch", [BATCH, 6])
def test_losses_are_those_of_the_padded_loop(model: Path, rows: Encoded, micro_batch: int) -> None:
    """Rows of like length, in micro-batches: the same loss to 1e-5 in each of four steps, fp32."""
    batches = TrainBatches(rows, batch=BATCH, micro_batch=micro_batch, seed=0)
    padded = sum(batch["ids"].numel() for batch in batches.step(Place(0, 0, 0.0), 0, 1))
    assert padded < BATCH * LENGTH
    found, expected = ours(model, batches), plain(model, batches, rows)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[0] != pytest.approx(found[-1], abs=1e-3)

"""What guidance costs: a guided step against one of cross entropy, all weights learning and biases alone.

    python benchmarks/debias_step.py [--encoder FOLDER] [--rounds 24] [--rows 1600] [--threads N] [--clock wall|cpu]

The encoder (six layers of width 384) learns FEVER's pairs, 32 rows a step in batches of like length, in this machine's
usual format, with a claim-only expert's drawn signals beside them: forward, attribution, loss, backward, norm, AdamW.
Beside it go the same with a forward pass for the attribution alone, and the published way, whose attribution is a
backward pass through all weights. All take turns on the same batch; figures are medians of each turn's ratio to cross
entropy. What is arithmetically due is 4/3 for all weights and 3/2 for biases. `cache_ratio` is the bytes of an expert's
file of signals over those of the published dense array, rows x 128 numbers in fp64, both of MNLI's columns read. Where
others use the machine too, `--threads 1 --clock cpu` counts this process's own time. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bertwright.debias import signals
from bertwright.debias.alignment import align, locate
from bertwright.debias.attribution import similarity
from bertwright.debias.batches import SignalBatches
from bertwright.debias.losses import row_losses
from bertwright.debias.objective import objective
from bertwright.encoder import families
from bertwright.encoder.models import Classifier, build_classifier
from bertwright.recipe.debias_settings import Attributing, Settings
from bertwright.tasks.batches import TrainBatches, encode
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows, read
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.allocation import memory_kept
from bertwright.training.losses import Loss, LossSum, classification_loss
from bertwright.training.optimizers import Optimizer
from bertwright.training.optimizers import Settings as OptimizerSettings
from bertwright.training.order import Place
from bertwright.training.precision import choose
from peers import DATA

ENCODER = Path(__file__).resolve().parents[1] / "build" / "trial-model"
BATCH, LENGTH, WARM = 32, 128, 3
SETTINGS = Settings("guided", alpha=0.3, beta=0.1)


class Data:
    """FEVER's pairs as ids, with a claim-only expert's drawn signals aligned to them."""

    def __init__(self, encoder: Path, data: Path, rows: int) -> None:
        self.tokenizer = Tokenizer.load(encoder)
        path = data / "tasks" / "fever" / "own_train.jsonl.gz"
        found = read(path, text=("evidence", "claim"), label="label", kind="classification").some(range(rows))
        labels = LabelMap.from_rows(found, "classification")
        self.classes = labels.outputs
        encoded = encode(found.texts, labels.numbers(found), self.tokenizer, max_length=LENGTH)
        claims = [row[1:] for row in found.texts]
        main, expert = (locate(texts, self.tokenizer, max_length=LENGTH) for texts in (found.texts, claims))
        drawn = np.random.default_rng(0)
        golds = [str(label) for label in found.labels]
        saliency = np.split(drawn.random(len(expert.row)), np.cumsum(np.bincount(expert.row))[:-1])
        logits = drawn.normal(size=(rows, self.classes))
        made = signals.of_rows(found.ids, found.texts, golds, labels.names or (), logits, saliency=saliency)
        if made.saliency is None:
            raise ValueError("signals were made without saliency")
        aligned = align(main, expert, made.saliency, found.texts, columns=[1])
        inner = TrainBatches(encoded, batch=BATCH, micro_batch=BATCH, seed=0)
        batches = SignalBatches(inner, encoded, SETTINGS, expert=made, aligned=aligned)
        self.steps = [batches.step(Place(step), 0, 1)[0] for step in range(batches.steps_per_epoch)]
        self.length = float(encoded.lengths.mean())


def published(model: Classifier, batch: Mapping[str, Any]) -> LossSum:
    """Attribute as the released code does: a whole backward pass, whose gradients of the weights are thrown away."""
    before = {parameter: parameter.grad for parameter in model.parameters()}
    x = model.encoder.embed(batch["ids"], batch["segments"])
    x.retain_grad()
    logits = model.head(model.encoder.run(x, batch["mask"]), batch["mask"])
    logits.gather(1, batch["labels"][:, None]).sum().backward(retain_graph=True)
    gradient: Tensor = x.grad if x.grad is not None else torch.zeros_like(x)
    saliency = torch.linalg.vector_norm(gradient.float() * x.detach().float(), dim=-1)
    x.grad = None
    for parameter, gradients in before.items():
        parameter.grad = gradients
    given = {"logits": logits, "labels": batch["labels"], "expert": batch["expert"]}
    return row_losses(given | {"rho": similarity(saliency, batch).rho}, SETTINGS).summed(batch["count"])


def learner(encoder: Path, classes: int, trained: str) -> tuple[Classifier, Optimizer]:
    """Return a classifier in this machine's format with its optimizer; biases and the head alone for "bitfit"."""
    loaded = families.load(encoder)
    model = build_classifier(loaded.config, classes, seed=0, encoder=loaded.encoder, pooler=loaded.pooler)
    if trained == "bitfit":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias") or name.startswith("head.output"))
    place = choose()
    model.to(place.device, place.dtype).train()
    model.encoder.attention_form("matmul" if place.device.type == "cpu" else "sdpa")
    chosen = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return model, Optimizer(chosen, name="adamw", settings=OptimizerSettings(2e-5, 0.0))


def timed(
    loss: Loss, model: Classifier, optimizer: Optimizer, batch: Mapping[str, Any], clock: Callable[[], float]
) -> float:
    """Return the seconds of a whole step."""
    begun = clock()
    loss(model, batch).total.backward()
    optimizer.accumulate()
    optimizer.gradients()
    optimizer.norm()
    optimizer.step(scale=1 / batch["count"], multiplier=1.0)
    return clock() - begun


def overheads(data: Data, trained: str, losses: Mapping[str, Loss], own: argparse.Namespace) -> dict[str, float]:
    """Return each loss's time over that of "ce", on the same batch in the same turn: medians."""
    model, optimizer = learner(own.encoder, data.classes, trained)
    clock = time.process_time if own.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    with memory_kept():
        for turn in range(WARM + own.rounds):
            batch = data.steps[turn % len(data.steps)]
            # Each goes first as often as any other.
            names = list(losses)[turn % len(losses) :] + list(losses)[: turn % len(losses)]
            for name in names:
                found = timed(losses[name], model, optimizer, batch, clock)
                if turn >= WARM:
                    seconds[name].append(found)
    for name, all_ in seconds.items():
        ratios = [one / ce for one, ce in zip(all_, seconds["ce"], strict=True)]
        print(
            f"{trained:7s} {name:10s} {1e3 * statistics.median(all_):8.1f} ms  {statistics.median(ratios):.3f} x ce",
            flush=True,
        )
    return {
        name: statistics.median(one / ce for one, ce in zip(all_, seconds["ce"], strict=True))
        for name, all_ in seconds.items()
    }


def cache_ratio(tokenizer: Tokenizer, rows: Rows, labels: int) -> tuple[float, float]:
    """Return the size of a file of signals over that of the dense array, both columns read, and the mean tokens."""
    drawn = np.random.default_rng(0)
    lengths = encode(rows.texts, np.zeros(len(rows)), tokenizer, max_length=LENGTH).lengths
    saliency = [drawn.lognormal(0, 1, length) for length in lengths]
    names = [f"label_{number}" for number in range(labels)]
    logits = drawn.normal(0, 3, (len(rows), labels))
    golds = [str(label) for label in rows.labels]
    made = signals.of_rows(rows.ids, rows.texts, golds, names, logits, saliency=saliency)
    with tempfile.TemporaryDirectory() as folder:
        signals.write(Path(folder) / "signals.parquet", made)
        size = (Path(folder) / "signals.parquet").stat().st_size
    return size / (len(rows) * LENGTH * 8), float(lengths.mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, default=ENCODER)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    own = parser.parse_args()
    torch.set_num_threads(own.threads)
    data = Data(own.encoder, own.data, own.rows)
    print(
        f"{own.rows} pairs of FEVER, {data.length:.1f} tokens on average, {choose().name}, {own.threads} thread(s)",
        flush=True,
    )
    losses: dict[str, Callable[..., LossSum]] = {
        "ce": classification_loss,
        "guided": objective(SETTINGS),
        "two passes": objective(SETTINGS, Attributing(passes="two")),
        "published": published,
    }
    found = {trained: overheads(data, trained, losses, own) for trained in ("full", "bitfit")}
    path = own.data / "tasks" / "mnli" / "train_20k_tokenized.jsonl.gz"
    mnli = read(path, text=("premise", "hypothesis"), label="label", kind="classification")
    ratio, tokens = cache_ratio(data.tokenizer, mnli, 3)
    print(f"signals of {len(mnli):,} MNLI rows, {tokens:.1f} tokens on average: {ratio:.4f} of the dense array")
    figures = {
        "overhead_full": found["full"]["guided"],
        "overhead_bitfit": found["bitfit"]["guided"],
        "published_overhead": found["full"]["published"],
        "published_overhead_bitfit": found["bitfit"]["published"],
        "two_passes_full": found["full"]["two passes"],
        "two_passes_bitfit": found["bitfit"]["two passes"],
        "cache_ratio": ratio,
    }
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()

"""A BitFit step against a full step of our own, its floor and its memory; then packs: size, swap, mixed batches.

    python benchmarks/bitfit_step.py [--rounds 7] [--length 128] [--dropout 0.1] [--save NAME]

Both steps are the product's: bf16 on a CPU that is fast in it, fp32 masters, dropout as the encoder has it, AdamW. The
trial shape is 6 layers of width 384 at 32 rows, base 12 of 768 at 8, all rows of `--length` tokens. Steps go in turns
in one process, medians are told. The floor is a forward pass and gradients with respect to what enters the first layer,
no parameter's: what backpropagation through a frozen encoder costs by itself. Memory is the peak of three steps in a
process of their own, above what it has after its imports. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from bertwright.encoder.config import EncoderConfig, shape
from bertwright.encoder.models import Classifier, build_classifier
from bertwright.pipeline.machine import MemoryMeter, own_memory
from bertwright.stages.methods import choose_parameters
from bertwright.training import trainable
from bertwright.training.allocation import memory_kept
from bertwright.training.losses import classification_loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import choose, matmul_peak
from peers import in_a_process

RESULTS = Path(__file__).parent / "results"
_BASE = shape("bert", "base", vocabulary=30_522, pad_id=0)
SHAPES: dict[str, tuple[EncoderConfig, int]] = {
    "trial": (replace(_BASE, layers=6, width=384, heads=12, inner=1536), 32),
    "base": (_BASE, 8),
}
METHODS = ("full", "bitfit", "head")
Step = Callable[[], None]


def prepared(config: EncoderConfig, method: str) -> tuple[Classifier, Optimizer]:
    """Return a classifier as a run trains it, and its optimizer."""
    model, place = build_classifier(config, 2, seed=0), choose()
    options = {"trainable": method, "terms": "all", "layers": None, "seed": 0}
    chosen = choose_parameters(model, options, pooler=True)
    trainable.freeze_others(model, chosen)
    named = [(name, parameter) for name, parameter in model.named_parameters() if name in chosen]
    entries = trainable.entries_of(chosen)
    optimizer = Optimizer(named, name="adamw", settings=Settings(1e-4, 0.01), dtype=place.dtype, entries=entries)
    model.to(place.dtype).train()
    return model, optimizer


def batch_of(config: EncoderConfig, rows: int, length: int) -> dict[str, Any]:
    """Return drawn rows with labels."""
    ids = torch.randint(1000, config.vocabulary, (rows, length), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(rows) % 2
    return {"ids": ids, "mask": None, "segments": torch.zeros_like(ids), "labels": labels, "count": rows}


def step_of(method: str, config: EncoderConfig, batch: dict[str, Any]) -> Step:
    """Return a function that takes one step."""
    model, optimizer = prepared(config, method)

    def step() -> None:
        classification_loss(model, batch).total.backward()
        optimizer.accumulate()
        norm = float(optimizer.norm()) / batch["count"]
        optimizer.step(scale=min(1.0, 1 / norm) / batch["count"], multiplier=1.0)

    return step


def floor_of(config: EncoderConfig, batch: dict[str, Any]) -> Step:
    """Return a function that goes forward, and back to what enters the first layer."""
    model, _ = prepared(config, "head")
    model.requires_grad_(False)

    def step() -> None:
        x = model.encoder.embed(batch["ids"], batch["segments"]).requires_grad_()
        *_, states = model.encoder.layers(x, model.encoder.context(x.shape[1], None, x.dtype, x.device))
        loss = torch.nn.functional.cross_entropy(model.head(states).float(), batch["labels"], reduction="sum")
        torch.autograd.grad(loss, x)

    return step


def seconds(step: Step) -> float:
    """Return how long a step takes."""
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def times(name: str, rounds: int, length: int, dropout: float | None) -> dict[str, float]:
    """Return median seconds of each method's step, and of the floor, in turns."""
    config, rows = SHAPES[name]
    if dropout is not None:
        config = replace(config, dropout=dropout, attention_dropout=dropout)
    batch = batch_of(config, rows, length)
    steps = {method: step_of(method, config, batch) for method in METHODS} | {"floor": floor_of(config, batch)}
    found: dict[str, list[float]] = {one: [] for one in steps}
    with memory_kept():
        for turn in range(rounds + 1):
            for one, step in steps.items():
                took = seconds(step)
                if turn:
                    found[one].append(took)
    return {one: statistics.median(each) for one, each in found.items()}


def memory(name: str, method: str, length: int) -> dict[str, float]:
    """Return the peak of three steps above what this process has now, in bytes."""
    config, rows = SHAPES[name]
    before = own_memory(psutil.Process())
    with MemoryMeter(every=0.01) as meter:
        batch = batch_of(config, rows, length)
        step = step_of(method, config, batch)
        with memory_kept():
            for _ in range(3):
                step()
    return {"bytes": meter.peak - before}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--dropout", type=float, help="off: the encoder's own rate, 0.1")
    parser.add_argument("--save")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(memory(*arguments.memory, arguments.length)))
        return
    place = choose()
    peak = matmul_peak(place.dtype, place.device.type)
    print(f"matrix peak {peak / 1e9:,.0f} GFLOP/s", flush=True)
    figures: dict[str, Any] = {
        "matmul_peak": peak,
        "precision": place.name,
        "length": arguments.length,
        "dropout": arguments.dropout,
    }
    for name, (_, rows) in SHAPES.items():
        took = times(name, arguments.rounds, arguments.length, arguments.dropout)
        figures[f"seconds_{name}"] = took
        figures[f"speedup_{name}"] = took["full"] / took["bitfit"]
        figures[f"above_floor_{name}"] = took["bitfit"] / took["floor"]
        told = ", ".join(f"{one} {1000 * each:,.0f} ms" for one, each in took.items())
        print(
            f"{name}, {rows} rows: {told}; bitfit {figures[f'speedup_{name}']:.2f} times as fast as full",
            flush=True,
        )
        used = {
            method: in_a_process(__file__, ["--memory", name, method, "--length", str(arguments.length)])["bytes"]
            for method in METHODS
        }
        figures[f"memory_{name}"] = used
        figures[f"memory_ratio_{name}"] = used["bitfit"] / used["full"]
        print(f"{name}: memory " + ", ".join(f"{one} {each / 1e6:,.0f} MB" for one, each in used.items()), flush=True)
    packs = Path(__file__).with_name("pack_serving.py")
    served = in_a_process(str(packs), ["--rounds", 2 * arguments.rounds])
    figures |= {key: served[key] for key in ("pack_bytes_fp16", "swap_us", "mixed_overhead")} | {"packs": served}
    if arguments.save:
        (RESULTS / f"{arguments.save}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""Early exit: what it saves against what is expected, what ramps cost, and how long they take to train.

    python benchmarks/early_exit.py [--quick] [--shapes 12x768,trial] [--length L] [--threads N] [--ramps deebert]
        [--save NAME]

Drawn tokens of one length, ramps as the settings `bertwright` have them or, with `--ramps deebert`, as published.
*Savings*: rows are told to leave at drawn layers, so that 20, 40 and 60 % of the layers are
expected to be saved (1 - sum i N_i / (n sum N_i)); every ramp on the way is computed. *Overhead*: all ramps computed
and none taken, against the plain classifier. Both at batch 1 and 32, in turns, medians; the figures are the worst over
the shapes of the median over the savings, or of the overhead. *Training*: all ramps of the trial model, rows of 20 to
128 tokens, against the published second stage on the same encoder (the whole model forward with dropout each epoch, and
gradients through the backbone, which no optimizer uses, as the released code has them): at equal batches, epochs,
lengths and format; and at its released settings (fp32, batches of 8 padded to 128, 3 epochs). `..._ramps_alone` is
against that stage without the backbone's gradients. With one thread the clock is the processor's, so that other jobs
count less. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.models import Classifier, build_classifier
from bertwright.exits.compaction import ExitingClassifier
from bertwright.exits.losses import exits_loss
from bertwright.exits.policies import State, parse
from bertwright.exits.ramps import RampedClassifier, Ramps, build_ramps
from bertwright.exits.savings import exit_counts, expected_saving
from bertwright.exits.two_stage import learn_ramps, pooled_states
from bertwright.recipe.exits_settings import SETTINGS
from bertwright.tasks.batches import Encoded, collate
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import DTYPES, choose

RESULTS = Path(__file__).parent / "results"
TRIAL = Path(__file__).resolve().parents[1] / "build" / "trial-model"
SAVINGS, BATCHES, CLASSES = (0.2, 0.4, 0.6), (1, 32), 3
ROWS_ALONE = 16


class Forced:
    """A policy that lets each row leave at a layer told before; ``layers`` (B,) are of the next batch."""

    def __init__(self, ramps: Ramps) -> None:
        self.after, self.layers, self.measures = ramps.layers, np.zeros(0, dtype=np.int64), parse("entropy:0.2")

    def begin(self, count: int) -> State:
        return State(np.zeros(count, dtype=bool), answers=self.layers)

    def looks_at(self, ramp: int) -> bool:
        return True

    def decide(self, ramp: int, logits: np.ndarray, state: State, scores: np.ndarray | None = None) -> np.ndarray:
        # A real policy measures every row: that work is done here too.
        self.measures.decide(ramp, logits, state, scores)
        return state.answers == self.after[ramp]


class Clock:
    """Seconds of the processor with one thread, of the wall with more."""

    def __init__(self, threads: int) -> None:
        self.now: Callable[[], float] = time.process_time if threads == 1 else time.perf_counter

    def time(self, work: Callable[[], object]) -> float:
        begun = self.now()
        work()
        return self.now() - begun


def model_of(name: str, dtype: torch.dtype) -> Classifier:
    """Return a classifier by its shape (12x768), or on the trial encoder."""
    if name == "trial":
        loaded = families.load(TRIAL)
        model = build_classifier(loaded.config, CLASSES, seed=0, encoder=loaded.encoder, pooler=loaded.pooler)
    else:
        layers, width = (int(part) for part in name.split("x"))
        config = EncoderConfig(
            family="bert", vocabulary=30_522, width=width, layers=layers, heads=width // 64, inner=4 * width
        )
        model = build_classifier(config, CLASSES, seed=0)
    return model.eval().to(dtype)


def drawn_layers(depth: int, saving: float, rows: int) -> np.ndarray:
    """Return the layer that each row leaves after, spread around what the saving asks for."""
    generator = np.random.default_rng(int(saving * 100))
    found = np.rint(generator.normal((1 - saving) * depth, depth / 6, rows)).astype(np.int64)
    return np.clip(found, 1, depth)


def inference(name: str, own: argparse.Namespace, clock: Clock, dtype: torch.dtype) -> dict[str, Any]:
    """Return measured over expected savings, and overheads, by batch."""
    model = model_of(name, dtype)
    look = SETTINGS[own.ramps]
    depth, ramps = model.encoder.config.layers, build_ramps(model, form=look.form, pooling=look.pooling)
    forced, all_ramps = Forced(ramps), ExitingClassifier(model, ramps, parse("entropy:0.000001"))
    leaving = ExitingClassifier(model, ramps, forced)
    found: dict[str, Any] = {}
    for batch in BATCHES:
        count = ROWS_ALONE if batch == 1 else batch
        ids = torch.randint(999, 29_000, (count, own.length), generator=torch.Generator().manual_seed(0))
        parts = ids.split(batch)

        def plain(parts: tuple[torch.Tensor, ...] = parts) -> None:
            with torch.inference_mode():
                for part in parts:
                    model(part).float().numpy()

        def through(parts: tuple[torch.Tensor, ...] = parts) -> None:
            for part in parts:
                all_ramps(part)

        def left(layers: np.ndarray, parts: tuple[torch.Tensor, ...] = parts, batch: int = batch) -> None:
            for place, part in enumerate(parts):
                forced.layers = layers[place * batch : (place + 1) * batch]
                leaving(part)

        chosen = [drawn_layers(depth, saving, count) for saving in SAVINGS]
        expected = [expected_saving(exit_counts(one - 1, depth), range(1, depth + 1)) for one in chosen]
        works = [plain, through, *(lambda one=one: left(one) for one in chosen)]
        times: list[list[float]] = [[] for _ in works]
        for turn in range(own.rounds + 1):
            # There and back: what a work leaves behind in caches and memory then meets both of its neighbours.
            for place in range(len(works)) if turn % 2 else reversed(range(len(works))):
                times[place].append(clock.time(works[place]))
        # The first round warms up; each turn is compared with the plain turn of its own round.
        ratios = [statistics.median(a / b for a, b in zip(one[1:], times[0][1:], strict=True)) for one in times]
        over = [(1 - ratio) / share for ratio, share in zip(ratios[2:], expected, strict=True)]
        found[f"b{batch}"] = {
            "plain_ms": 1e3 * statistics.median(times[0][1:]) / count,
            "overhead": ratios[1] - 1,
            "expected": expected,
            "measured_over_expected": over,
        }
        print(f"{name}, batch {batch}: {json.dumps(found[f'b{batch}'])}", flush=True)
    return found


def drawn_rows(count: int, fixed: int | None = None) -> Encoded:
    """Return rows of 20 to 128 drawn tokens with drawn labels; padded to a length by hand where one is given."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(20, 129, count)
    ids = tuple(generator.integers(999, 29_000, length) for length in lengths)
    if fixed:
        ids = tuple(np.pad(row, (0, fixed - len(row))) for row in ids)
    segments = tuple(np.zeros(len(row), dtype=np.int64) for row in ids)
    return Encoded(ids, segments, generator.integers(0, CLASSES, count), 0, 0)


def published(dtype: torch.dtype, clock: Clock, *, padded: int | None, batch: int, steps: int, as_code: bool) -> float:
    """Return the seconds a row and epoch of the published second stage take: medians of a step."""
    settings, rows = SETTINGS["deebert"], drawn_rows(steps * batch, padded)
    classifier = model_of("trial", dtype)
    model = RampedClassifier(classifier, build_ramps(classifier).to(dtype)).train()
    if not as_code:
        model.encoder.requires_grad_(False)
        model.head.requires_grad_(False)
    ramps = [(name, one) for name, one in model.named_parameters() if name.startswith("ramps.")]
    optimizer = Optimizer(ramps, name="adamw", settings=Settings(settings.learning_rate, 0.0, betas=(0.9, 0.999)))
    loss, seconds = exits_loss("two-stage", "classification"), []
    order = np.argsort(-rows.lengths, kind="stable")
    for start in range(0, len(order), batch):
        data = collate(rows, order[start : start + batch])

        def step(data: dict[str, Any] = data) -> None:
            loss(model, data).total.backward()
            optimizer.accumulate()
            torch.nn.utils.get_total_norm([one.grad for one in model.parameters() if one.grad is not None])
            optimizer.step(scale=1 / batch, multiplier=1.0)
            model.zero_grad(set_to_none=True)

        seconds.append(clock.time(step))
    return sum(seconds[1:]) / (len(seconds) - 1) / batch


def kept_states(dtype: torch.dtype, clock: Clock, *, rows: int, batch: int, epochs: float) -> tuple[float, float]:
    """Return the seconds a row takes us, for its states and for all epochs on them."""
    classifier, data = model_of("trial", dtype), drawn_rows(rows)
    settings = replace(SETTINGS["deebert"], batch=batch, epochs=epochs)
    ramps = build_ramps(classifier).to(dtype)
    states: list[torch.Tensor] = []
    first = clock.time(lambda: states.append(pooled_states(classifier, data, ramps.layers)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        second = clock.time(
            lambda: learn_ramps(
                *(ramps, states[0], data.labels, "classification", settings),
                **{"seed": 0, "folder": folder, "metrics": folder / "metrics.jsonl"},
            )
        )
    return first / rows, second / rows


def training(own: argparse.Namespace, clock: Clock, dtype: torch.dtype) -> dict[str, float]:
    """Return our seconds over those of the published second stage, in turns."""
    epochs, turns = 3, []
    for _ in range(own.training_rounds):
        turn: dict[str, float] = {}
        turn["states"], turn["ramps"] = kept_states(dtype, clock, rows=own.rows, batch=8, epochs=epochs)
        for suffix, as_code in (("", True), ("_ramps_alone", False)):
            equal = published(dtype, clock, padded=None, batch=8, steps=own.steps, as_code=as_code)
            released = published(torch.float32, clock, padded=128, batch=8, steps=own.steps, as_code=as_code)
            turn[f"equal{suffix}"], turn[f"released{suffix}"] = epochs * equal, epochs * released
        turns.append(turn)
        print(
            f"training, ms a row: {json.dumps({name: round(1e3 * one, 2) for name, one in turn.items()})}", flush=True
        )
    names = ("equal", "released", "equal_ramps_alone", "released_ramps_alone")
    return {
        f"ramp_time_{name}": statistics.median((one["states"] + one["ramps"]) / one[name] for one in turns)
        for name in names
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12x384 in place of 12x768, and fewer turns")
    parser.add_argument("--shapes")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=DTYPES, default="fp32", help="of inference; training takes the usual")
    parser.add_argument("--ramps", choices=("bertwright", "deebert"), default="bertwright", help="of inference")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--parts", default="inference,training")
    parser.add_argument("--save")
    own = parser.parse_args()
    own.shapes = own.shapes or ("12x384,trial" if own.quick else "12x768,trial")
    own.rounds = own.rounds or (5 if own.quick else 9)
    own.training_rounds, own.rows, own.steps = (1, 256, 12) if own.quick else (3, 1024, 24)
    torch.set_num_threads(own.threads)
    clock, figures = Clock(own.threads), {"length": own.length, "threads": own.threads, "precision": own.precision}
    figures["ramps"] = own.ramps
    if "inference" in own.parts:
        shapes = {name: inference(name, own, clock, DTYPES[own.precision]) for name in own.shapes.split(",")}
        figures["shapes"] = shapes
        for batch in BATCHES:
            each = [one[f"b{batch}"] for one in shapes.values()]
            figures[f"measured_over_expected_b{batch}"] = min(
                statistics.median(one["measured_over_expected"]) for one in each
            )
            figures[f"ramps_overhead_b{batch}"] = max(one["overhead"] for one in each)
    if "training" in own.parts:
        figures |= training(own, clock, choose("cpu").dtype)
    if own.save:
        (RESULTS / f"{own.save}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

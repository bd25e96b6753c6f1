"""Where the time of one training step goes: operations by their share, and the matrix products against the peak.

    python benchmarks/step_profile.py [--size S] [--family F] [--optimizer O] [--attention A] [--compiled]

Drawn tokens, 32 rows of 128, BERT's number of pieces, 15 % masked, this machine's usual format, all cores. First whole
steps without a profiler (median of twelve), then three under `torch.profiler`, whose own cost is told. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from bertwright.encoder.config import FAMILIES, SIZES, flops_per_token, shape
from bertwright.encoder.models import build_masked_lm
from bertwright.encoder.stack import set_dropout
from bertwright.recipe.sections import Pretrain
from bertwright.stages.setup import drawn_batch
from bertwright.stages.training_choices import optimizer_of
from bertwright.training.allocation import memory_kept
from bertwright.training.losses import masked_lm_loss
from bertwright.training.precision import choose, matmul_peak

ROWS, LENGTH, RATE, PIECES = 32, 128, 0.15, 30_522
TIMED, PROFILED, SHOWN = 12, 3, 14
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")


def step_of(own: argparse.Namespace) -> Callable[[], None]:
    """Return a whole training step: forward, backward, gradients, update."""
    place = choose()
    config = shape(own.family, own.size, vocabulary=PIECES, pad_id=0)
    model = build_masked_lm(config, seed=0)
    set_dropout(model, 0.0)
    model.encoder.attention_form(own.attention)
    if own.compiled:
        model.encoder.compile_blocks()
    optimizer = optimizer_of(model, Pretrain(optimizer=own.optimizer), place.dtype)
    batch = drawn_batch(config, ROWS, LENGTH, RATE)

    def step() -> None:
        masked_lm_loss(model, batch).total.backward()
        optimizer.accumulate()
        optimizer.gradients()
        optimizer.norm()
        optimizer.step(scale=1 / batch["count"], multiplier=1.0)

    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="mini")
    parser.add_argument("--family", choices=FAMILIES, default="bert")
    parser.add_argument("--optimizer", choices=("adamw", "muon", "sgd"), default="adamw")
    parser.add_argument("--attention", choices=("matmul", "sdpa"), default="matmul")
    parser.add_argument("--compiled", action="store_true")
    own = parser.parse_args()
    with memory_kept():
        step = step_of(own)
        for _ in range(3):
            step()
        seconds = []
        for _ in range(TIMED):
            begun = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begun)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            for _ in range(PROFILED):
                step()
    spent = {one.key: one.self_cpu_time_total / PROFILED / 1e3 for one in seen.key_averages()}
    whole, profiled = 1e3 * statistics.median(seconds), sum(spent.values())
    config = shape(own.family, own.size, vocabulary=PIECES, pad_id=0)
    flops, peak = flops_per_token(config, LENGTH, RATE) * ROWS * LENGTH, matmul_peak(choose().dtype)
    products = sum(spent.get(name, 0.0) for name in PRODUCTS)
    print(f"a step takes {whole:.0f} ms, under the profiler {profiled:.0f}")
    for name, milliseconds in sorted(spent.items(), key=lambda one: -one[1])[:SHOWN]:
        print(f"{milliseconds:8.1f} ms  {milliseconds / profiled:6.1%}  {name}")
    figures = {
        **vars(own),
        "step_ms": whole,
        "products_ms": products,
        "products_share": products / profiled,
        "products_of_peak": flops / (products / 1e3) / peak,
        "utilisation": flops / (whole / 1e3) / peak,
        "operations_ms": {name: round(ms, 2) for name, ms in sorted(spent.items(), key=lambda one: -one[1])[:SHOWN]},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

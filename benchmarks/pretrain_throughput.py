"""Pretraining, second for second: our loop against a plain `transformers` loop in fp32 and in bf16 autocast.

    python benchmarks/pretrain_throughput.py [--size mini|small|base] [--optimizer adamw|muon] [--compiled] [--rounds 3]

All take the same rows of real text (length 128, BERT's vocabulary, 15 % masked) and the same micro-batch, on all cores,
optimizer step included. The plain loop is `BertForMaskedLM` as it comes, without dropout, with SDPA and fused AdamW.
Ours is the loop that the product runs, on shards on the disk. They go in turns, each in a process of its own; medians
are told. Utilisation counts six operations for each weight and token (the head for masked tokens only), over this
machine's bf16 matrix peak, measured in each turn. What the disk adds is measured apart, since speeds of single turns
differ by more: the time that the data of an update take from shards and from memory. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.encoder.config import EncoderConfig, flops_per_token, shape
from bertwright.recipe.sections import Pretrain
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.masked_rows import BatchSize, MaskedRows, Masking
from bertwright.training.order import Place
from bertwright.training.precision import choose, matmul_peak
from peers import LENGTH, WARM, WIKIPEDIA, InMemory, bert_tokenizer, in_a_process, plain_loop, prepared, steady_speed

RESULTS = Path(__file__).parent / "results"
RATE = 0.15
# Rows of a micro-batch, micro-batches of an update, and updates of a turn (ours, plain).
SIZES = {"mini": (32, 1, 24, 4), "small": (32, 1, 12, 3), "base": (16, 4, 3, 1)}
TURNS = ("ours", "plain_bf16", "ours_in_memory", "plain_fp32")


@dataclass(frozen=True)
class Setting:
    """What all of them share."""

    config: EncoderConfig
    tokenizer: Tokenizer
    size: str
    optimizer: str
    compiled: bool
    folder: Path

    def batches(self, rows: Any) -> MaskedRows:
        """Return the steps of the data."""
        micro_batch, accumulate, *_ = SIZES[self.size]
        return MaskedRows(
            rows,
            self.tokenizer,
            batch=BatchSize(micro_batch * accumulate),
            micro_batch=micro_batch,
            masking=Masking(RATE),
            seed=0,
        )


def setting(folder: Path, own: argparse.Namespace) -> Setting:
    """Return what is measured, from what was prepared in a folder."""
    tokenizer = Tokenizer.load(folder / "tokenizer")
    config = shape("bert", own.size, vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id)
    return Setting(config, tokenizer, own.size, own.optimizer, own.compiled, folder)


def ours(own: Setting, *, in_memory: bool) -> float:
    """Return the tokens a second of the product's loop."""
    shards = Shards(own.folder / "rows")
    batches = own.batches(InMemory(shards) if in_memory else shards)
    *_, updates, _ = SIZES[own.size]
    with tempfile.TemporaryDirectory(dir=own.folder) as name:
        choice = Pretrain(optimizer=own.optimizer)
        return steady_speed(own.config, batches, choice, updates=updates, folder=Path(name), compiled=own.compiled)


def turn(own: Setting, name: str) -> dict[str, float]:
    """Return tokens a second of one loop, and the matrix peak around it."""
    peaks = [matmul_peak(choose().dtype)]
    if name.startswith("ours"):
        speed = ours(own, in_memory=name == "ours_in_memory")
    else:
        batches, updates = own.batches(Shards(own.folder / "rows")), SIZES[own.size][3]
        outcome = plain_loop(own.config, batches, bf16=name == "plain_bf16", updates=WARM + updates)
        speed = outcome.tokens / outcome.seconds
    matmul_peak.cache_clear()
    return {"tokens_per_s": speed, "peak": statistics.mean([*peaks, matmul_peak(choose().dtype)])}


def loading(own: Setting, steps: int = 100) -> dict[str, float]:
    """Return the milliseconds that the data of an update take, from shards on the disk and from memory, in turns."""
    shards = Shards(own.folder / "rows")
    sources = {"disk": own.batches(shards), "memory": own.batches(InMemory(shards))}
    taken: dict[str, list[float]] = {name: [] for name in sources}
    rows = math.prod(SIZES[own.size][:2])
    for number in range(steps):
        for name, batches in sources.items():
            begun = time.perf_counter()
            batches.step(Place(step=number, row=number * rows), 0, 1)
            taken[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="mini")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--compiled", action="store_true", help="compile our blocks (the plain loop stays eager)")
    parser.add_argument("--save")
    parser.add_argument("--turn", choices=TURNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.turn:
        print(json.dumps(turn(setting(arguments.folder, arguments), arguments.turn)))
        return
    speeds: dict[str, list[float]] = {name: [] for name in TURNS}
    peaks = []
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        bert_tokenizer(folder / "tokenizer")
        prepared(folder, [WIKIPEDIA / "wikipedia-00.txt.zst"], folder / "tokenizer")
        for _ in range(arguments.rounds):
            for one in TURNS:
                options = ["--size", arguments.size, "--optimizer", arguments.optimizer]
                options += ["--compiled"] if arguments.compiled else []
                found = in_a_process(__file__, ["--turn", one, "--folder", folder, *options])
                speeds[one].append(found["tokens_per_s"])
                peaks.append(found["peak"])
                print(f"{one}: {speeds[one][-1]:,.0f} tokens/s; matrix peak {peaks[-1] / 1e9:,.0f} GFLOP/s", flush=True)
        whole = setting(folder, arguments)
        config, loaded = whole.config, loading(whole)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    peak, cost = statistics.median(peaks), flops_per_token(config, LENGTH, RATE)
    micro_batch, accumulate, *_ = SIZES[arguments.size]
    step = 1e3 * micro_batch * accumulate * LENGTH / medians["ours"]
    figures = {
        "size": arguments.size,
        "optimizer": arguments.optimizer,
        "compiled": arguments.compiled,
        "rows": micro_batch,
        "micro_batches": accumulate,
        "ratio_fp32": medians["ours"] / medians["plain_fp32"],
        "ratio_bf16": medians["ours"] / medians["plain_bf16"],
        "utilisation": cost * medians["ours"] / peak,
        "tokens_per_s": medians["ours"],
        "disk_against_memory": medians["ours"] / medians["ours_in_memory"],
        "loading_ms": loaded,
        "disk_share_of_step": (loaded["disk"] - loaded["memory"]) / step,
        "peak_gflops": peak / 1e9,
        "speeds": speeds,
    }
    if arguments.save:
        (RESULTS / f"{arguments.save}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

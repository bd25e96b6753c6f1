"""Packs at work: a pack's size, the time to exchange one for another, and what a batch of many packs costs.

    python benchmarks/pack_serving.py [--size base|trial] [--rounds N] [--threads N]

A drawn encoder of the named size (trial: 6 x 384), 12 packs of every bias, 32 rows of 32 tokens. A batch in which every
row has its own pack is compared with the same batch answered by one attached pack through the ordinary layers, in
turns (A B A B), in this process; the ratio is the median of the rounds' own. It is taken of wall-clock time and of the
process's own time on the processor; on a machine that others use only the second, with one thread, tells anything. The
last line is one JSON object with `pack_bytes_fp16` (without the head), `swap_us` and `mixed_overhead` (a share: 0.05 is
5 %; of processor time where there is one thread), fp32 and bf16.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from bertwright.bias_terms import POOLER
from bertwright.encoder.biases import terms_in
from bertwright.encoder.config import EncoderConfig, shape
from bertwright.encoder.families import Loaded
from bertwright.encoder.models import build_masked_lm
from bertwright.encoder.packed import Resident, backbone_of, fingerprint
from bertwright.pack import Pack, PackTask, make, to_bytes

PACKS, ROWS, LENGTH, CLASSES = 12, 32, 32, 6
TOKENIZER = "0" * 32


def config_of(size: str) -> EncoderConfig:
    """Return BERT-base's shape, or the trial model's."""
    base = shape("bert", "base", vocabulary=30522, pad_id=0)
    return base if size == "base" else replace(base, layers=6, width=384, heads=12, inner=1536)


def packs_for(loaded: Loaded) -> dict[str, Pack]:
    """Return packs of every bias with drawn deltas and heads."""
    width, draw, backbone = loaded.config.width, np.random.default_rng(0), backbone_of(loaded, TOKENIZER)
    sizes = {term.key: term.size for term in terms_in(loaded.config, pooler=True)}
    labels = tuple(f"label {number}" for number in range(CLASSES))
    return {
        f"task {number}": make(
            backbone=backbone,
            task=PackTask(f"task {number}", "classification", ("text",), labels, LENGTH),
            method="bitfit",
            terms="all",
            biases={key: draw.normal(0, 0.01, size) for key, size in sizes.items()},
            head={"output.weight": draw.normal(0, 0.02, (CLASSES, width)), "output.bias": np.zeros(CLASSES)},
            of=sum(parameter.numel() for parameter in loaded.encoder.parameters()),
        )
        for number in range(PACKS)
    }


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long a call takes."""
    begun = clock()
    work()
    return clock() - begun


def twice(work: Callable[[], object]) -> tuple[float, float]:
    """Return a call's wall-clock and processor seconds."""
    found: list[float] = []
    processor = seconds(lambda: found.append(seconds(work)), time.process_time)
    return found[0], processor


def swapping(here: Resident) -> float:
    """Return the median microseconds of putting another pack in force."""
    times = [seconds(lambda n=number: here.use(f"task {n % PACKS}")) for number in range(2000)]  # type: ignore[misc]
    return 1e6 * statistics.median(times)


def mixing(here: Resident, rounds: int) -> dict[str, float]:
    """Return times of both ways and their ratios, measured in turns."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (ROWS, LENGTH), generator=generator)
    mask = torch.arange(LENGTH)[None, :] < torch.randint(20, LENGTH + 1, (ROWS, 1), generator=generator)
    names = [f"task {row % PACKS}" for row in range(ROWS)]
    here.use("task 0")
    ways = {"plain": lambda: here.logits(ids, mask), "mixed": lambda: here.mixed(names, ids, mask)}
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for work in ways.values():
        work()
    for _ in range(rounds):
        for way, work in ways.items():
            times[way].append(twice(work))
    found: dict[str, float] = {}
    for place, clock in enumerate(("wall", "processor")):
        plain, mixed = ([both[place] for both in times[way]] for way in ("plain", "mixed"))
        found |= {
            f"plain_{clock}_ms": 1e3 * statistics.median(plain),
            f"mixed_{clock}_ms": 1e3 * statistics.median(mixed),
            f"overhead_{clock}": statistics.median(b / a for a, b in zip(plain, mixed, strict=True)) - 1,
            f"overhead_{clock}_of_fastest": min(mixed) / min(plain) - 1,
        }
    return found


def largest_difference(here: Resident) -> float:
    """Return the largest difference between a mixed batch and each pack alone."""
    ids = torch.randint(1000, 30000, (PACKS, LENGTH), generator=torch.Generator().manual_seed(1))
    names, found = list(here.names), 0.0
    for number, row in enumerate(here.mixed(names, ids)):
        here.use(names[number])
        found = max(found, float((here.logits(ids[number : number + 1])[0] - row).abs().max()))
    return found


def differ(found: dict[str, float]) -> str:
    """Say how far mixed answers are from single ones."""
    return f"mixed answers differ from each pack's alone by at most {found['largest_difference']:.1g}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("base", "trial"), default="base")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = config_of(arguments.size)
    model = build_masked_lm(config, seed=0)
    loaded = Loaded(config, model.encoder, None, torch.nn.Linear(config.width, config.width), None, None, ())
    packs = packs_for(loaded)
    one = packs["task 0"]
    biases = sum(value.nbytes for value in one.biases.values())
    header = len(to_bytes(one)) - biases - sum(value.nbytes for value in one.head.values())
    result = {
        "size": arguments.size,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "pack_bytes_fp16": biases + header,
        "bias_numbers": sum(value.size for value in one.biases.values()),
        "pooler_numbers": sum(value.size for key, value in one.biases.items() if key in POOLER),
        "fingerprint_s": statistics.median(seconds(lambda: fingerprint(loaded)) for _ in range(3)),
    }
    print(f"a pack without its head: {result['pack_bytes_fp16']:,} bytes in fp16, {header:,} of them the header")
    print(f"the encoder's hash takes {result['fingerprint_s']:.2f} s")
    by_precision = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        here = Resident(replace(loaded, encoder=copy.deepcopy(loaded.encoder)), tokenizer=TOKENIZER, dtype=dtype)
        for name, pack in packs.items():
            here.add(name, pack)
        found = {"swap_us": swapping(here), "largest_difference": largest_difference(here)}
        found |= mixing(here, arguments.rounds)
        clock = "processor" if arguments.threads == 1 else "wall"
        found["mixed_overhead"] = found[f"overhead_{clock}"]
        by_precision[precision] = found
        print(f"{precision}: exchanging a pack {found['swap_us']:.1f} us; {differ(found)}")
        for clock in ("wall", "processor"):
            print(
                f"  {clock}: one pack {found[f'plain_{clock}_ms']:.0f} ms, {PACKS} mixed "
                f"{found[f'mixed_{clock}_ms']:.0f} ms: {100 * found[f'overhead_{clock}']:+.1f} % (fastest rounds "
                f"{100 * found[f'overhead_{clock}_of_fastest']:+.1f} %)"
            )
    for key in ("swap_us", "mixed_overhead"):
        result[key] = max(found[key] for found in by_precision.values())
    print(json.dumps({**result, "by_precision": by_precision}))


if __name__ == "__main__":
    main()

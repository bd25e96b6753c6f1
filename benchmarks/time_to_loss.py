"""Held-out loss for the same minutes, and minutes for the same held-out loss: ours against a tuned plain loop.

    python benchmarks/time_to_loss.py [--minutes 5,10,20] [--rates 5e-4,1e-3,2e-3] [--seeds 1] [--save NAME]

Both train four layers of width 256 with BERT's vocabulary on the same rows of Wikipedia and are scored on the same
1,024 rows of `valid.txt` at fixed masks. The plain loop is `BertForMaskedLM` in bf16 autocast with fused AdamW, 32 rows
an update, a linear schedule, its learning rate chosen at the shortest time. Ours is the preset `bertwright` with its
family. Then ours gets a twelfth, a sixteenth and a twentieth of the longest time, and the speed-up is that of the
shortest that still reaches the plain loop's loss.

A minute is as many updates as a side makes in a minute of this machine with nothing else running: measured first, in
turns (A B A B), medians. Trainings are then budgeted in updates, so that what runs beside them favours nobody. Every
turn runs in a process of its own and leaves a file in `--build`: a benchmark that was stopped goes on. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig, shape
from bertwright.encoder.models import MaskedLM
from bertwright.recipe.presets import PRESETS
from bertwright.recipe.sections import Pretrain
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.budget import Budget
from bertwright.training.masked_rows import BatchSize, MaskedRows, Masking
from bertwright.training.precision import choose
from peers import (
    LENGTH,
    WARM,
    WIKIPEDIA,
    bert_tokenizer,
    held_out_loss,
    in_a_process,
    own_loop,
    plain_loop,
    prepared,
    scored_batches,
    steady_speed,
)

RESULTS = Path(__file__).parent / "results"
SOURCE = Path(__file__).resolve().parents[1] / "src"
BUILD = Path(__file__).resolve().parents[1] / "build" / "time_to_loss"
ROWS = 32
TIMED, ROUNDS = 5, 3
SHARES = (12, 16, 20)


@dataclass(frozen=True)
class Side:
    """One side's data and shape."""

    config: EncoderConfig
    batches: MaskedRows
    choice: Pretrain
    shards: Shards
    tokenizer: Tokenizer


def side(build: Path, who: str, seed: int) -> Side:
    """Return what "ours" or "plain" trains with."""
    tokenizer, shards = Tokenizer.load(build / "tokenizer"), Shards(build / "train" / "rows")
    preset = PRESETS["bertwright"]
    choice = Pretrain.model_validate(preset["pretrain"])
    rows = choice.batch or ROWS
    masking = Masking(choice.mask_rate, choice.mask_rate_end) if who == "ours" else Masking(0.15)
    batches = MaskedRows(shards, tokenizer, batch=BatchSize(rows), micro_batch=rows, masking=masking, seed=seed)
    own = {key: value for key, value in preset["encoder"].items() if key not in ("family", "size")}
    family, other = (preset["encoder"]["family"], own) if who == "ours" else ("bert", {})
    config = shape(family, "mini", vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id, **other)
    return Side(config, batches, choice, shards, tokenizer)


def pace(build: Path, who: str) -> dict[str, float]:
    """Return the updates that a side makes in a minute."""
    own = side(build, who, 0)
    if who == "plain":
        outcome = plain_loop(own.config, own.batches, bf16=True, updates=WARM + TIMED)
        return {"updates_per_minute": 60 * TIMED / outcome.seconds}
    with tempfile.TemporaryDirectory(dir=build) as name:
        speed = steady_speed(own.config, own.batches, own.choice, updates=4 * TIMED, folder=Path(name))
    return {"updates_per_minute": 60 * speed / (LENGTH * (own.choice.batch or ROWS))}


def turn(build: Path, who: str, updates: int, rate: float, seed: int) -> dict[str, float]:
    """Train one side for so many updates and return what it reached."""
    own = side(build, who, seed)
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name)
        if who == "ours":
            budget, begin = Budget("steps", updates), (own.shards, own.tokenizer)
            _, model = own_loop(
                own.config, own.batches, own.choice, budget=budget, folder=folder, seed=seed, frequencies=begin
            )
        else:
            plain = plain_loop(own.config, own.batches, bf16=True, learning_rate=rate, updates=updates, seed=seed)
            plain.model.save_pretrained(folder / "model")
            loaded = families.load(folder / "model")
            if loaded.masked_lm_head is None:
                raise ValueError("the plain loop left a model without its head")
            model = MaskedLM(loaded.encoder, loaded.masked_lm_head)
    model.to("cpu", choose("cpu").dtype)
    loss = held_out_loss(model, scored_batches(Shards(build / "valid" / "rows"), own.tokenizer))
    return {"updates": updates, "held_out_loss": loss}


def version() -> str:
    """Return what tells figures of other code or settings apart: a hash of all that decides them."""
    here = Path(__file__)
    sources = [*sorted(SOURCE.rglob("*.py")), here.parent / "peers.py", here]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def kept(path: Path, arguments: list[object]) -> dict[str, Any]:
    """Return a turn's figures, from its file where it was done before."""
    if not path.exists():
        files.write_json(path, in_a_process(__file__, arguments))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def paces(build: Path) -> dict[str, float]:
    """Return the updates a minute of both sides, medians of turns."""
    found: dict[str, list[float]] = {"plain": [], "ours": []}
    for number in range(ROUNDS):
        for who, own in found.items():
            path = build / f"pace-{who}-{number}-{version()}.json"
            own.append(kept(path, ["--turn", who, "--build", build])["updates_per_minute"])
            print(f"{who}: {own[-1]:.1f} updates a minute", flush=True)
    return {who: statistics.median(own) for who, own in found.items()}


def compare(build: Path, minutes: list[float], rates: list[float], seeds: int) -> dict[str, Any]:
    """Tune, train all, and return the figures."""
    pace_of = paces(build)

    def measured(who: str, time: float, rate: float, seed: int) -> float:
        updates = max(1, round(time * pace_of[who]))
        path = build / f"{who}-{updates}-{rate:g}-{seed}-{version()}.json"
        arguments = ["--turn", who, "--updates", updates, "--rate", rate, "--seed", seed, "--build", build]
        loss: float = kept(path, arguments)["held_out_loss"]
        print(f"{who}, {time:.2f} min = {updates} updates, rate {rate:g}, seed {seed}: {loss:.3f}", flush=True)
        return loss

    def loss(who: str, time: float, rate: float = 0.0) -> float:
        return statistics.mean(measured(who, time, rate, seed) for seed in range(seeds))

    tuned = {rate: measured("plain", minutes[0], rate, 0) for rate in rates}
    best = min(tuned, key=lambda rate: tuned[rate])
    plain = {time: loss("plain", time, best) for time in minutes}
    ours = {time: loss("ours", time) for time in minutes}
    longest, speedup = minutes[-1], 0.0
    shares: dict[str, float] = {}
    for share in SHARES:
        shares[f"1/{share}"] = loss("ours", longest / share)
        if shares[f"1/{share}"] > plain[longest]:
            break
        speedup = float(share)
    return {
        "speedup_to_baseline_loss": speedup or f"below {SHARES[0]}",
        "losses": {f"{time:g}": {"plain": plain[time], "ours": ours[time]} for time in minutes},
        "shares": shares,
        "plain_rate": best,
        "plain_rates": {f"{rate:g}": value for rate, value in tuned.items()},
        "updates_per_minute": pace_of,
        "seeds": seeds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="5,10,20")
    parser.add_argument("--rates", default="5e-4,1e-3,2e-3")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--save")
    parser.add_argument("--turn", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--updates", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.turn:
        trained = own.updates is not None
        print(
            json.dumps(
                turn(own.build, own.turn, own.updates, own.rate, own.seed) if trained else pace(own.build, own.turn)
            )
        )
        return
    own.build.mkdir(parents=True, exist_ok=True)
    if not (own.build / "tokenizer").exists():
        bert_tokenizer(own.build / "tokenizer")
    texts = [WIKIPEDIA / f"wikipedia-0{number}.txt.zst" for number in (0, 1)]
    prepared(own.build / "train", texts, own.build / "tokenizer")
    prepared(own.build / "valid", [WIKIPEDIA / "valid.txt"], own.build / "tokenizer")
    minutes = sorted(float(part) for part in own.minutes.split(","))
    figures = compare(own.build, minutes, [float(part) for part in own.rates.split(",")], own.seeds)
    if own.save:
        (RESULTS / f"{own.save}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

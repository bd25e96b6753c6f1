"""Pretraining, second for second: our loop against a plain `transformers` loop in fp32 and in bf16 autocast.

    python benchmarks/pretrain_throughput.py [--size mini|small|base] [--optimizer adamw|muon] [--rounds 3] [--save N]

All take the same rows of real text (length 128, BERT's vocabulary, 15 % masked) and the same micro-batch, on all cores,
optimizer step included. The plain loop is `BertForMaskedLM` as it comes, without dropout, with SDPA and fused AdamW.
Ours is the loop that the product runs, on shards on the disk. They go in turns; medians are told. Utilisation counts
six operations for each weight and token (the head for masked tokens only), over this machine's bf16 matrix peak,
measured between the turns. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

from bertwright.encoder.config import EncoderConfig, flops_per_token, shape
from bertwright.encoder.models import build_masked_lm
from bertwright.encoder.stack import set_dropout
from bertwright.recipe import Pretrain
from bertwright.stages.masked_rows import MaskedRows, Masking
from bertwright.stages.pretrain import optimizer_of
from bertwright.text.corpus import Choices
from bertwright.text.prepare import prepare_rows
from bertwright.text.shards import Shards
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.budget import Budget
from bertwright.training.loop import train
from bertwright.training.losses import masked_lm_loss
from bertwright.training.precision import choose, matmul_peak
from bertwright.training.ranks import Ranks
from bertwright.training.schedules import Schedule

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"
LENGTH, RATE = 128, 0.15
# Rows of a micro-batch, micro-batches of an update, and updates of a turn (ours, plain).
SIZES = {"mini": (32, 1, 24, 4), "small": (32, 1, 12, 3), "base": (16, 4, 3, 1)}


@dataclass(frozen=True)
class Setting:
    """What all of them share."""

    config: EncoderConfig
    rows: Any
    tokenizer: Tokenizer
    micro_batch: int
    accumulate: int
    optimizer: str
    folder: Path

    def batches(self) -> MaskedRows:
        """Return the steps of the data."""
        batch = self.micro_batch * self.accumulate
        micro = {"batch": batch, "micro_batch": self.micro_batch}
        return MaskedRows(self.rows, self.tokenizer, **micro, masking=Masking(RATE), seed=0)


class InMemory:
    """Rows of shards, all of them in memory."""

    def __init__(self, shards: Shards) -> None:
        self._ids = {split: shards.ids(split, np.arange(shards.rows(split))) for split in ("train", "held_out")}

    def rows(self, split: str) -> int:
        """Return how many rows a split has."""
        return len(self._ids[split])

    def ids(self, split: str, chosen: np.ndarray) -> np.ndarray:
        """Return the ids of chosen rows."""
        return self._ids[split][chosen]


def ours(setting: Setting, updates: int) -> float:
    """Return the tokens a second of the product's loop, its first updates left out."""
    model = build_masked_lm(setting.config, seed=0)
    set_dropout(model, 0.0)
    precision = choose()
    model.to(precision.device, precision.dtype)
    model.encoder.attention_form("matmul" if precision.device.type == "cpu" else "sdpa")
    choice = Pretrain(optimizer=setting.optimizer)
    warm = {}
    with tempfile.TemporaryDirectory(dir=setting.folder) as name:
        for count in (2, updates + 2):
            outcome = train(
                model,
                setting.batches(),
                masked_lm_loss,
                optimizer_of(model, choice),
                schedule=Schedule("linear"),
                warmup=0.06,
                budget=Budget("steps", count),
                clip=1.0,
                seed=0,
                ranks=Ranks(),
                folder=Path(name) / str(count),
                metrics=Path(name) / f"{count}.jsonl",
                checkpoint_every=Budget("steps", 10**9),
            )
            warm[count] = outcome
    first, whole = warm[2], warm[updates + 2]
    return (whole.tokens - first.tokens) / (whole.seconds - first.seconds)


def plain(setting: Setting, updates: int, *, bf16: bool) -> float:
    """Return the tokens a second of a loop around `BertForMaskedLM`."""
    config = setting.config
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.inner,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    batches, tokens, begun = setting.batches(), 0, 0.0
    for number in range(updates + 1):
        if number == 1:  # the first one is for warming up
            begun, tokens = time.perf_counter(), 0
        micro_batches = batches.step(number, 0, 1)
        for batch in micro_batches:
            labels = torch.full(batch["ids"].shape, -100)
            labels.view(-1)[batch["positions"]] = batch["labels"]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model(input_ids=batch["ids"], labels=labels).loss / len(micro_batches)
            loss.backward()
            tokens += batch["tokens"]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return tokens / (time.perf_counter() - begun)


def prepared(folder: Path) -> tuple[Shards, Tokenizer]:
    """Prepare rows of real text with BERT's vocabulary."""
    names = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    backend = tokenizers.BertWordPieceTokenizer(str(DATA / "vocab" / "bert-base-uncased-vocab.txt"), lowercase=True)
    tokenizer = Tokenizer(backend._tokenizer, names)
    tokenizer.save(folder / "tokenizer", max_length=512)
    choices = Choices(row_length=LENGTH, held_out=0.005, seed=0)
    sources = expand([Source(str(DATA / "corpora" / "wikipedia" / "wikipedia-00.txt.zst"))])
    prepare_rows(sources, folder / "tokenizer", folder / "rows", choices, scratch=folder / "scratch")
    return Shards(folder / "rows"), tokenizer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="mini")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--save")
    arguments = parser.parse_args()
    micro_batch, accumulate, own_updates, plain_updates = SIZES[arguments.size]
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        shards, tokenizer = prepared(folder)
        config = shape("bert", arguments.size, vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id)
        setting = Setting(config, shards, tokenizer, micro_batch, accumulate, arguments.optimizer, folder)
        in_memory = Setting(config, InMemory(shards), tokenizer, micro_batch, accumulate, arguments.optimizer, folder)
        turns: dict[str, Callable[[], float]] = {
            "ours": lambda: ours(setting, own_updates),
            "plain_bf16": lambda: plain(setting, plain_updates, bf16=True),
            "ours_in_memory": lambda: ours(in_memory, own_updates),
            "plain_fp32": lambda: plain(setting, plain_updates, bf16=False),
        }
        speeds: dict[str, list[float]] = {key: [] for key in turns}
        peaks = []
        for _ in range(arguments.rounds):
            for key, turn in turns.items():
                speeds[key].append(turn())
                matmul_peak.cache_clear()
                peaks.append(matmul_peak(choose().dtype))
                print(f"{key}: {speeds[key][-1]:,.0f} tokens/s; matrix peak {peaks[-1] / 1e9:,.0f} GFLOP/s", flush=True)
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    peak, cost = statistics.median(peaks), flops_per_token(config, LENGTH, RATE)
    figures = {
        "size": arguments.size,
        "optimizer": arguments.optimizer,
        "rows": micro_batch,
        "micro_batches": accumulate,
        "ratio_fp32": medians["ours"] / medians["plain_fp32"],
        "ratio_bf16": medians["ours"] / medians["plain_bf16"],
        "utilisation": cost * medians["ours"] / peak,
        "tokens_per_s": medians["ours"],
        "disk_against_memory": medians["ours"] / medians["ours_in_memory"],
        "peak_gflops": peak / 1e9,
        "speeds": speeds,
    }
    if arguments.save:
        (RESULTS / f"{arguments.save}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

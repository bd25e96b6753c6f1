"""What several benchmarks share: real rows with BERT's vocabulary, their score, and the loop that a user would write.

The loop around `BertForMaskedLM` is fair: the same rows, masks, shape, precision and clipping, fused AdamW, no dropout,
the same linear schedule over the same time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.models import MaskedLM, build_masked_lm
from bertwright.encoder.stack import set_dropout
from bertwright.recipe.sections import Pretrain
from bertwright.stages.starting import begin_at_frequencies
from bertwright.stages.training_choices import optimizer_of, schedule_of
from bertwright.text.corpus import Choices
from bertwright.text.prepare import prepare_rows
from bertwright.text.shards import Shards
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence
from bertwright.training.feed import Batches, Feed, on_device
from bertwright.training.loop import Outcome, train
from bertwright.training.losses import masked_lm_loss
from bertwright.training.masked_rows import HELD_OUT_RATE, MaskedRows, masked
from bertwright.training.order import Place
from bertwright.training.precision import choose
from bertwright.training.ranks import Ranks
from bertwright.training.schedules import Schedule, multiplier

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WIKIPEDIA = DATA / "corpora" / "wikipedia"
LENGTH, WARMUP = 128, 0.06
WARM = 5
"""Updates of the plain loop that are not timed."""
SCORED_ROWS = 1024


def steady_speed(
    config: EncoderConfig,
    batches: MaskedRows,
    choice: Pretrain,
    *,
    updates: int,
    folder: Path,
    compiled: bool = False,
) -> float:
    """Return the product's tokens a second: the first third of a run warms it up and is left out of the clock."""
    warm, marks = max(2, updates // 2), []

    class Clocked:
        """The same steps, with the time at which each was asked for."""

        steps_per_epoch = None

        def rows(self, place: Place) -> int:
            return batches.rows(place)

        def step(self, place: Place, rank: int, world: int) -> Sequence[Any]:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            found = batches.step(place, rank, world)
            marks.append((time.perf_counter(), sum(batch["tokens"] for batch in found)))
            return found

    budget = Budget("steps", warm + updates + 1)
    own_loop(config, Clocked(), choice, budget=budget, folder=folder, compiled=compiled)
    counted = marks[warm : warm + updates + 1]
    return sum(tokens for _, tokens in counted[:-1]) / (counted[-1][0] - counted[0][0])


def bert_tokenizer(folder: Path) -> Tokenizer:
    """Write BERT's vocabulary as a tokenizer into a folder and return it."""
    names = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    backend = tokenizers.BertWordPieceTokenizer(str(DATA / "vocab" / "bert-base-uncased-vocab.txt"), lowercase=True)
    tokenizer = Tokenizer(backend._tokenizer, names)
    tokenizer.save(folder, max_length=512)
    return tokenizer


def prepared(folder: Path, texts: Sequence[Path], tokenizer: Path, row_length: int = LENGTH) -> Shards:
    """Prepare rows of text files, once; they lie in ``folder``."""
    if not (folder / "rows").exists():
        choices = Choices(row_length=row_length, held_out=0.005, seed=0)
        sources = expand([Source(str(text)) for text in texts])
        prepare_rows(sources, tokenizer, folder / "rows", choices, scratch=folder / "scratch")
    return Shards(folder / "rows")


def scored_batches(rows: Shards, tokenizer: Tokenizer, micro_batch: int = 32) -> list[dict[str, object]]:
    """Return 1,024 rows spread over a text, with masks that are always the same."""
    chosen = np.linspace(0, rows.rows("train") - 1, min(SCORED_ROWS, rows.rows("train"))).astype(np.int64)
    parts = np.array_split(chosen, max(1, len(chosen) // micro_batch))
    return [masked(rows, tokenizer, "train", part, np.zeros_like(part), rate=HELD_OUT_RATE, seed=0) for part in parts]


def held_out_loss(model: torch.nn.Module, batches: Sequence[dict[str, object]]) -> float:
    """Return the mean cross entropy of our own model on ``scored_batches``, in nats."""
    model.eval()
    with torch.no_grad():
        found = [masked_lm_loss(model, batch) for batch in batches]
    return sum(float(one.total) for one in found) / sum(one.count for one in found)


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


def in_a_process(script: str, arguments: Sequence[object]) -> dict[str, Any]:
    """Run a turn of a benchmark in a process of its own, so that nothing leaks between turns; return its last line."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def own_loop(
    config: EncoderConfig,
    batches: Batches,
    choice: Pretrain,
    *,
    budget: Budget,
    folder: Path,
    seed: int = 0,
    compiled: bool = False,
    frequencies: tuple[Shards, Tokenizer] | None = None,
) -> tuple[Outcome, MaskedLM]:
    """Train with the product's loop and its usual choices, without checkpoints on the way.

    With ``frequencies`` (rows and tokenizer) the head begins as the product's does.
    """
    place = choose()
    model = build_masked_lm(config, seed=seed)
    if frequencies is not None:
        begin_at_frequencies(model.head, *frequencies)
    set_dropout(model, 0.0)
    model.to(place.device)
    model.encoder.attention_form("matmul" if place.device.type == "cpu" else "sdpa")
    if compiled:
        model.encoder.compile_blocks()
    outcome = train(
        model,
        batches,
        masked_lm_loss,
        optimizer_of(model, choice, place.dtype),
        schedule=schedule_of(choice),
        warmup=choice.warmup,
        budget=budget,
        clip=choice.clip,
        seed=seed,
        ranks=Ranks(),
        folder=folder,
        metrics=folder / "metrics.jsonl",
        cadence=Cadence(Budget("steps", 10**9)),
    )
    return outcome, model


@dataclass(frozen=True)
class PlainOutcome:
    """What the plain loop did."""

    updates: int
    tokens: int
    seconds: float
    model: transformers.BertForMaskedLM


def plain_model(config: EncoderConfig) -> transformers.BertForMaskedLM:
    """Return the ordinary model of a shape, without dropout."""
    return transformers.BertForMaskedLM(
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


def plain_loop(
    config: EncoderConfig,
    batches: MaskedRows,
    *,
    bf16: bool,
    learning_rate: float = 1e-3,
    updates: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    compiled: bool = False,
) -> PlainOutcome:
    """Train for so many updates or seconds; the first updates, ``WARM`` or one, are left out of the clock."""
    warm = WARM if updates else 1
    torch.manual_seed(seed)
    device = choose().device
    model = plain_model(config).to(device).train()
    if compiled:
        model.compile()
    groups = [
        {"params": [one for one in model.parameters() if one.dim() > 1], "weight_decay": 0.01},
        {"params": [one for one in model.parameters() if one.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    feed = Feed(batches, 0, 1, device, ahead=device.type == "cuda")
    linear, number, place, tokens, begun = Schedule("linear"), 0, Place(), 0, time.perf_counter()
    while True:
        share = number / updates if updates else (time.perf_counter() - begun) / (seconds or 1.0)
        if number >= warm and share >= 1.0:
            break
        rate = multiplier(linear, int(max(share, 0.0) * 1e6), 1_000_000, WARMUP)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        following = Place(number + 1, place.row + batches.rows(place))
        micro_batches = feed.take(place, following)
        place = following
        for one in micro_batches:
            batch = on_device(one, device)
            labels = torch.full(batch["ids"].shape, -100, device=device)
            labels.view(-1)[batch["positions"]] = batch["labels"]
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = model(input_ids=batch["ids"], labels=labels).loss / len(micro_batches)
            loss.backward()
            tokens += batch["tokens"]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        number += 1
        if number == warm:
            if device.type == "cuda":
                torch.cuda.synchronize()
            begun, tokens = time.perf_counter(), 0
    if device.type == "cuda":
        torch.cuda.synchronize()
    return PlainOutcome(number, tokens, time.perf_counter() - begun, model)

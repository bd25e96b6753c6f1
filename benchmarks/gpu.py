"""One GPU in one call of at most nine minutes: BERT-base against a plain `transformers` loop, and what it learns.

    python benchmarks/gpu.py [--text FILE ...] [--minutes 2.5] [--save NAME]

First tokens a second at lengths 128 and 512, in turns: `BertForMaskedLM` in bf16 autocast (SDPA, fused AdamW, no
dropout, data made ahead) and the product's loop, each eager and compiled, both with the largest batch of a few that
fits the plain loop. Then both train from nothing for the same minutes on the same rows, the plain loop at two learning
rates, and are scored on held-out rows at fixed masks. Written
to be run where a GPU is lent for a while; without one it says so and leaves with 2. The last line is one JSON object,
which also goes to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig, flops_per_token, shape
from bertwright.encoder.models import MaskedLM
from bertwright.recipe.presets import PRESETS
from bertwright.recipe.sections import Pretrain
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.budget import Budget
from bertwright.training.masked_rows import BatchSize, MaskedRows, Masking
from bertwright.training.precision import matmul_peak
from peers import (
    WARM,
    WIKIPEDIA,
    bert_tokenizer,
    held_out_loss,
    own_loop,
    plain_loop,
    plain_model,
    prepared,
    scored_batches,
    steady_speed,
)

RESULTS = Path(__file__).parent / "results"
TOKENS = (65_536, 32_768, 16_384, 8_192)  # of a batch, the largest first
UPDATES, ROUNDS, RATE = 30, 2, 0.15
PLAIN_RATES = (2e-4, 5e-4)


def largest_batch(config: EncoderConfig, length: int) -> int:
    """Return the rows of the largest batch whose logits, all of them, fit the plain loop's memory."""
    for tokens in TOKENS:
        rows = tokens // length
        try:
            model = plain_model(config).cuda()
            ids = torch.randint(5, config.vocabulary, (rows, length), device="cuda")
            with torch.autocast("cuda", torch.bfloat16):
                model(input_ids=ids, labels=ids).loss.backward()
            torch.optim.AdamW(model.parameters(), fused=True).step()
        except torch.OutOfMemoryError:
            continue
        finally:
            model = None
            torch.cuda.empty_cache()
        return rows
    sys.exit("not even the smallest batch fits this GPU")


def batches_of(rows: Shards, tokenizer: Tokenizer, count: int, masking: Masking) -> MaskedRows:
    """Return the steps of the data, ``count`` rows each."""
    return MaskedRows(rows, tokenizer, batch=BatchSize(count), micro_batch=count, masking=masking, seed=0)


def throughput(config: EncoderConfig, rows: Shards, tokenizer: Tokenizer, build: Path) -> dict[str, Any]:
    """Return tokens a second of each loop at one length, medians of a few turns."""
    count = largest_batch(config, rows.row_length)
    batches = batches_of(rows, tokenizer, count, Masking(RATE))
    names = ("plain_bf16", "plain_bf16_compiled", "ours", "ours_compiled")
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for compiled in (False, True):
            end = "_compiled" if compiled else ""
            found = plain_loop(config, batches, bf16=True, updates=WARM + UPDATES, compiled=compiled)
            speeds[f"plain_bf16{end}"].append(found.tokens / found.seconds)
            with tempfile.TemporaryDirectory(dir=build) as folder:
                speed = steady_speed(
                    config, batches, Pretrain(), updates=UPDATES, folder=Path(folder), compiled=compiled
                )
            speeds[f"ours{end}"].append(speed)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best = max(medians["ours"], medians["ours_compiled"])
    peak = matmul_peak(torch.bfloat16, "cuda")
    return {
        "rows": count,
        "tokens_per_s": medians,
        "ratio_bf16": best / medians["plain_bf16"],
        "ratio_bf16_compiled": best / medians["plain_bf16_compiled"],
        "utilisation": flops_per_token(config, rows.row_length, RATE) * best / peak,
        "peak_tflops": peak / 1e12,
    }


def learning(config: EncoderConfig, rows: Shards, tokenizer: Tokenizer, build: Path, minutes: float) -> dict[str, Any]:
    """Return the held-out losses of both loops after the same minutes."""
    held_out = scored_batches(prepared(build / "scored", [build / "scored.txt"], build / "tokenizer"), tokenizer)
    held_out = [{k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in batch.items()} for batch in held_out]
    choice = Pretrain.model_validate(PRESETS["bertwright"]["pretrain"])
    masking = Masking(choice.mask_rate, choice.mask_rate_end)
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name)
        budget = Budget("seconds", 60 * minutes)
        outcome, model = own_loop(
            config,
            batches_of(rows, tokenizer, 256, masking),
            choice,
            budget=budget,
            folder=folder,
            compiled=True,
            frequencies=(rows, tokenizer),
        )
        ours = held_out_loss(model.bfloat16(), held_out)
        plain = {}
        for rate in PLAIN_RATES:
            found = plain_loop(
                config,
                batches_of(rows, tokenizer, 256, Masking(RATE)),
                bf16=True,
                learning_rate=rate,
                seconds=60 * minutes,
                compiled=True,
            )
            found.model.cpu().save_pretrained(folder / "plain")
            loaded = families.load(folder / "plain")
            if loaded.masked_lm_head is None:
                raise ValueError("the plain loop left a model without its head")
            model = MaskedLM(loaded.encoder, loaded.masked_lm_head).cuda().bfloat16()
            loss = held_out_loss(model, held_out)
            plain[f"{rate:g}"] = {"held_out_loss": loss, "tokens": found.tokens, "updates": found.updates}
    return {
        "minutes": minutes,
        "ours": {"held_out_loss": ours, "tokens": outcome.tokens, "updates": outcome.steps},
        "plain_by_rate": plain,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", default=[WIKIPEDIA / "wikipedia-00.txt.zst"])
    parser.add_argument("--held-out", type=Path, default=WIKIPEDIA / "valid.txt")
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--save", default=f"{datetime.date.today()}-gpu")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device is here; this benchmark needs one", file=sys.stderr)
        sys.exit(2)
    figures: dict[str, Any] = {"date": f"{datetime.date.today()}", "device": torch.cuda.get_device_name()}
    figures |= {"torch": torch.__version__, "command": " ".join(["python", *sys.argv])}
    with tempfile.TemporaryDirectory(dir=".") as name:
        build = Path(name)
        tokenizer = bert_tokenizer(build / "tokenizer")
        (build / "scored.txt").write_bytes(arguments.held_out.read_bytes())
        config = shape("bert", "base", vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id)
        for length in (128, 512):
            rows = prepared(build / str(length), arguments.text, build / "tokenizer", row_length=length)
            figures[f"length_{length}"] = throughput(config, rows, tokenizer, build)
            print(f"length {length}: {json.dumps(figures[f'length_{length}'])}", flush=True)
        rows = Shards(build / "128" / "rows")
        figures["learning"] = learning(config, rows, tokenizer, build, arguments.minutes)
    (RESULTS / f"{arguments.save}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

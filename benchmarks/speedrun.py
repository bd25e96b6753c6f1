"""What a few minutes of a machine make of a fixed corpus: rules, probe and score.

    python benchmarks/speedrun.py [--minutes 5] [--tasks] [--log FILE] [a.b=c ...]

Rules. Train on `wikipedia-00` and `wikipedia-01` (95 MB) with BERT's uncased vocabulary, from nothing, for at most so
many minutes of training on one machine; preparing text, evaluations, saving and scoring are not counted. Anything else
is free: shape, optimizer, masking, the tool itself. What comes out is an ordinary model folder. Score: mean cross
entropy in nats at fixed masks (15 %, 80/10/10) in 1,024 rows of 128 tokens of `valid.txt`, and with `--tasks` TREC,
SST-2 (12,000 rows) and STS-B, fine-tuned at fixed settings over three seeds. The machine probe makes runs on different
machines comparable: quote it. `--score FOLDER` scores a folder that another tool made.

`a.b=c` changes this tool's recipe, as on its command line. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

import bertwright
from bertwright.encoder import families
from bertwright.encoder.models import MaskedLM
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.precision import choose, matmul_peak
from peers import DATA, WIKIPEDIA, bert_tokenizer, held_out_loss, prepared, scored_batches

BUILD = Path(__file__).resolve().parents[1] / "build" / "speedrun"
SST2_ROWS = 12_000


def probe() -> dict[str, float]:
    """Return the machine's matrix products a second, in GFLOP/s."""
    device = choose().device.type
    return {
        "bf16_gflops": matmul_peak(torch.bfloat16, device) / 1e9,
        "fp32_gflops": matmul_peak(torch.float32, device) / 1e9,
        "threads": torch.get_num_threads(),
    }


def score(folder: Path, build: Path) -> float:
    """Return the held-out loss of a model folder of a supported family."""
    tokenizer = Tokenizer.load(build / "tokenizer")
    rows = prepared(build / "valid", [WIKIPEDIA / "valid.txt"], build / "tokenizer")
    loaded = families.load(folder)
    if loaded.masked_lm_head is None:
        sys.exit(f"{folder} has no masked-word head")
    model = MaskedLM(loaded.encoder, loaded.masked_lm_head)
    place = choose()
    model.to(place.device, place.dtype)
    batches = [
        {key: value.to(place.device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        for batch in scored_batches(rows, tokenizer)
    ]
    return held_out_loss(model, batches)


def recipe(build: Path, minutes: float) -> dict[str, Any]:
    """Return this tool's entry."""
    return {
        "store": str(build / "store"),
        "report": False,
        "prepare": {"ready": str(build / "train" / "ready")},
        "pretrain": {"budget": f"{minutes} min", "evaluations": 2},
        "finetune": {"epochs": 3, "batch": 32, "learning_rate": 2e-4, "max_length": 64},
    }


def tasks(build: Path) -> list[dict[str, Any]]:
    """Return the probe tasks; SST-2 is cut to its first rows."""
    cut = build / "sst2"
    if not cut.exists():
        cut.mkdir(parents=True)
        with gzip.open(DATA / "tasks" / "sst2" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
            (cut / "train.jsonl").write_text("".join(line for line, _ in zip(file, range(SST2_ROWS), strict=False)))
        shutil.copy(DATA / "tasks" / "sst2" / "dev.jsonl", cut)
    folders = {"trec": DATA / "tasks" / "trec", "sst2": cut, "stsb": DATA / "tasks" / "stsb"}
    return [{"name": name, "known": name, "folder": str(folder)} for name, folder in folders.items()]


def prepare(build: Path) -> None:
    """Write tokenizer and rows, once."""
    if not (build / "train" / "ready").exists():
        bert_tokenizer(build / "tokenizer")
        prepared(build / "train", [WIKIPEDIA / f"wikipedia-0{n}.txt.zst" for n in (0, 1)], build / "tokenizer")
        shutil.copytree(build / "tokenizer", build / "train" / "rows" / "tokenizer")
        (build / "train" / "rows").rename(build / "train" / "ready")


def main() -> None:
    """Run, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="a.b=c")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--tasks", action="store_true")
    parser.add_argument("--score", type=Path, help="score this model folder and train nothing")
    parser.add_argument("--log", type=Path, help="append the figures to this file")
    parser.add_argument("--build", type=Path, default=BUILD, help="runs of the same recipe lie here and are reused")
    arguments = parser.parse_args()
    build = arguments.build
    build.mkdir(parents=True, exist_ok=True)
    prepare(build)
    figures: dict[str, Any] = {"date": f"{datetime.date.today()}", "machine": probe()}
    if arguments.score is not None:
        figures |= {"folder": str(arguments.score), "held_out_loss": score(arguments.score, build)}
    else:
        content = recipe(build, arguments.minutes) | ({"tasks": tasks(build)} if arguments.tasks else {})
        file = build / "speedrun.yaml"
        file.write_text(yaml.safe_dump(content))
        loaded = bertwright.load_recipe(file, arguments.changes)
        result = bertwright.run(loaded) if arguments.tasks else bertwright.pretrain(loaded)
        stage = result.stages["pretrain"]
        keys = ("steps", "tokens", "seconds", "tokens_per_second", "utilisation", "parameters")
        figures |= {"minutes": arguments.minutes, "changes": arguments.changes}
        figures |= {key: stage.record["results"][key] for key in keys}
        figures["wall_seconds"] = stage.record["seconds"]
        figures["held_out_loss"] = score(stage.folder / "model", build)
        figures["tasks"] = {
            record["results"]["task"]: record["results"]["variants"] for record in result.records.of_kind("evaluate")
        }
    print(f"held-out loss {figures['held_out_loss']:.3f}")
    line = json.dumps(figures)
    if arguments.log is not None:
        with arguments.log.open("a") as log:
            log.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()

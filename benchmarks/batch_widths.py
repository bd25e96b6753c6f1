"""What the widths of batches cost in memory and time while a model is fine-tuned; the last line is one JSON object.

    python benchmarks/batch_widths.py [MODEL] [--steps N]

MODEL is a BERT-like folder (`../shared/data/trial_model.py build/trial-model` makes the default). A plain loop of
transformers in bf16 on one thread, 16 rows of 16 to 110 tokens drawn alike for all: with glibc as it is, with freed
memory kept as our loop keeps it, and with that and the few widths that our batches have. A process for each; GB held
after each quarter of the steps, and processor seconds a step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

WAYS = ("as it is", "freed memory kept", "few widths")
ROWS = 16


def measure(way: str, model: Path, steps: int) -> dict[str, Any]:
    """Train in this process; return gigabytes by quarters and processor seconds a step."""
    import psutil
    import torch
    import transformers

    from bertwright.tasks.batches import Encoded, collate
    from bertwright.training.allocation import memory_kept

    torch.set_num_threads(1)
    torch.manual_seed(0)
    learner = transformers.BertForSequenceClassification.from_pretrained(model, num_labels=2).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-5)
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.normal(55, 18, steps), 16, 110).astype(int)
    # A row of every length that can come: their widths are those of the tasks' own batches.
    ids = tuple(np.zeros(length, dtype=np.int64) for length in range(111))
    rows = Encoded(ids, ids, np.zeros(len(ids)), 0, 0)
    held, process, begun = [], psutil.Process(), time.process_time()
    with memory_kept() if way != WAYS[0] else contextlib.nullcontext():
        for step, length in enumerate(lengths, 1):
            few = way == WAYS[2]
            width = collate(rows, np.full(ROWS, length))["ids"].shape[1] if few else length
            drawn = torch.from_numpy(generator.integers(1000, 30000, (ROWS, width)))
            mask, labels = torch.ones_like(drawn), torch.zeros(ROWS, dtype=torch.long)
            learner(input_ids=drawn, attention_mask=mask, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % max(1, steps // 4) == 0:
                held.append(round(process.memory_info().rss / 1e9, 2))
    return {"gb": held, "seconds": round((time.process_time() - begun) / steps, 3)}


def main() -> None:
    """Measure each way in a process of its own and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=Path("build/trial-model"))
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(measure(asked.way, asked.model, asked.steps)))
        return
    found = {}
    for way in WAYS:
        command = [sys.executable, __file__, str(asked.model), "--steps", str(asked.steps), "--way", way]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
        print(f"{way:20}{found[way]['seconds']:8.3f} s a step   GB {found[way]['gb']}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

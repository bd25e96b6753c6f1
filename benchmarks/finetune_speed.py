"""Fine-tuning, row for row: ours against the common default and against a loop with batches of like length.

    python benchmarks/finetune_speed.py [--tasks rte,mrpc,cola] [--rounds 3] [--seeds 2] [--save NAME]

A given encoder (six layers of width 384, `--encoder`) learns RTE, MRPC and CoLA, 32 rows an update, AdamW, dropout as
the encoder has it. The common default is `AutoModelForSequenceClassification` in fp32, every row padded to 128 tokens;
the second loop is the same in bf16 autocast with batches of rows of like length, padded to the longest of them. All go
in turns, each in a process of its own; rows a second are medians, the first updates left out of the clock. Then the
second loop and ours train three epochs at the same settings over the same seeds and are scored on dev by the task's
metric: `score_delta` is the mean difference, in points. The speeds want the machine for themselves, the scores do not:
`--seeds 0` leaves the scores out, `--rounds 0` the speeds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from bertwright.encoder import families
from bertwright.encoder.models import Classifier
from bertwright.stages.fine_tuned import answer_rows
from bertwright.stages.learning import learn
from bertwright.stages.work import Machine, Work
from bertwright.tasks import catalogue
from bertwright.tasks.batches import Encoded, lay_out
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.metrics import METRICS, decide
from bertwright.tasks.readers import Rows, read_rows
from bertwright.tasks.task import Task
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.schedules import Schedule, multiplier
from peers import DATA, in_a_process

RESULTS = Path(__file__).parent / "results"
ENCODER = Path(__file__).resolve().parents[1] / "build" / "trial-model"
BATCH, LENGTH, RATE, DECAY, WARMUP, EPOCHS = 32, 128, 1e-4, 0.01, 0.06, 3
TIMED = {"ours": 60, "grouped": 60, "default": 12}
WARM = 5


class Data:
    """A task's rows as ids, and its labels as numbers."""

    def __init__(self, name: str, encoder: Path) -> None:
        self.task: Task = catalogue.locate(name, DATA / "tasks" / name)
        self.tokenizer = Tokenizer.load(encoder)
        self.rows: Rows = read_rows(self.task, self.task.train)
        self.labels = LabelMap.from_rows(self.rows, self.task.kind)
        self.config = families.read_config(encoder)
        self.train = self._encoded(self.rows)
        self.part = "dev" if "dev" in self.task.sets else "test"
        self.dev = self._encoded(read_rows(self.task, self.task.sets[self.part]))
        names, positive = self.labels.names, self.task.positive
        self.positive = names.index(positive) if names and positive else None

    def _encoded(self, rows: Rows) -> Encoded:
        return lay_out(rows.texts, self.labels.numbers(rows), self.tokenizer, self.config, LENGTH)

    def score(self, logits: np.ndarray, gold: np.ndarray) -> float:
        """Return the headline metric of answers, in points."""
        found = METRICS[self.task.metrics[0]].compute(gold, decide(logits, self.task.kind), self.positive)
        return 100 * (found.value or 0.0)


def order(data: Data, rows: np.ndarray, seed: int, *, grouped: bool) -> Iterator[np.ndarray]:
    """Give one epoch's batches of these rows: drawn, or drawn in pools of fifty batches sorted by length."""
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(rows)
    if grouped:
        pool = 50 * BATCH
        parts = [drawn[start : start + pool] for start in range(0, len(drawn), pool)]
        drawn = np.concatenate([part[np.argsort(data.train.lengths[part], kind="stable")] for part in parts])
    batches = [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]
    for place in generator.permutation(len(batches)):
        yield batches[place]


def padded(rows: Encoded, chosen: np.ndarray, length: int) -> dict[str, torch.Tensor]:
    """Return a batch as `transformers` takes it, padded to ``length``."""
    ids, segments = np.full((len(chosen), length), rows.pad_id), np.zeros((len(chosen), length), dtype=np.int64)
    mask = np.zeros((len(chosen), length), dtype=np.int64)
    for place, row in enumerate(chosen):
        size = len(rows.ids[row])
        ids[place, :size], segments[place, :size], mask[place, :size] = rows.ids[row], rows.segments[row], 1
    arrays = {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask, "labels": rows.labels[chosen]}
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def plain(
    data: Data, encoder: Path, rows: np.ndarray, seed: int, *, grouped: bool, updates: int, rate: float = RATE
) -> tuple[float, transformers.PreTrainedModel]:
    """Train the ordinary class on these rows for so many updates; return rows a second, and the model."""
    torch.manual_seed(seed)
    classes = {"num_labels": len(data.labels.names or ())}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(encoder, **classes).train()
    groups = [
        {"params": [one for one in model.parameters() if one.dim() > 1], "weight_decay": DECAY},
        {"params": [one for one in model.parameters() if one.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
    count, number, begun, epoch = 0, 0, time.perf_counter(), 0
    while number < updates:
        for chosen in order(data, rows, seed * 1000 + epoch, grouped=grouped):
            longest = int(data.train.lengths[chosen].max()) if grouped else LENGTH
            for group in optimizer.param_groups:
                group["lr"] = rate * multiplier(Schedule("linear"), number, updates, WARMUP)
            with torch.autocast("cpu", torch.bfloat16, enabled=grouped):
                loss = model(**padded(data.train, chosen, longest)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            number, count = number + 1, count + len(chosen)
            if number == WARM:
                begun, count = time.perf_counter(), 0
            if number == updates:
                break
        epoch += 1
    return count / (time.perf_counter() - begun), model


def answers_of(model: transformers.PreTrainedModel, rows: Encoded) -> np.ndarray:
    """Return the logits of rows, (n, C), by the same code as ours answers with."""
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name)
        loaded = families.load(Path(name))
    if loaded.classifier is None:
        raise ValueError("the plain loop left a model without its head")
    return answer_rows(Classifier(loaded.encoder, loaded.classifier), rows, torch.device("cpu"))


def ours(data: Data, encoder: Path, seed: int, *, epochs: float, folder: Path) -> tuple[float, np.ndarray]:
    """Train with the product's loop; return rows a second, all updates counted, and the logits of dev."""
    options: dict[str, Any] = {
        "trainable": "full",
        "seed": seed,
        "epochs": epochs,
        "batch": BATCH,
        "learning_rate": RATE,
        "max_length": LENGTH,
        "weight_decay": DECAY,
        "warmup": WARMUP,
    }
    inputs = {"encoder": encoder, "tokenizer": encoder}
    machine = Machine(threads=torch.get_num_threads())
    work = Work("run", "finetune", options, {}, inputs, {"train": data.task.train}, folder, machine)
    learnt = learn(work, options, data.task, data.rows, data.labels, epochs=epochs)
    logits = answer_rows(learnt.model, data.dev, learnt.precision.device)
    return learnt.outcome.steps * BATCH / learnt.outcome.seconds, logits


def turn(own: argparse.Namespace) -> dict[str, float]:
    """Do one side's part on one task: a speed, or with ``--score`` what three epochs reach on dev."""
    data = Data(own.task, own.encoder)
    steps = -(-len(data.rows) // BATCH)
    if own.turn == "ours":
        with tempfile.TemporaryDirectory() as name:
            epochs = float(EPOCHS) if own.score else TIMED["ours"] / steps
            speed, logits = ours(data, own.encoder, own.seed, epochs=epochs, folder=Path(name))
        return {"rows_per_s": speed, "score": data.score(logits, data.dev.labels) if own.score else 0.0}
    updates = EPOCHS * steps if own.score else WARM + TIMED[own.turn]
    whole = np.arange(len(data.rows))
    speed, model = plain(data, own.encoder, whole, own.seed, grouped=own.turn == "grouped", updates=updates)
    score = data.score(answers_of(model, data.dev), data.dev.labels) if own.score else 0.0
    return {"rows_per_s": speed, "score": score}


def speeds(task: str, own: argparse.Namespace) -> dict[str, float]:
    """Return each side's rows a second on a task: medians of turns in alternation."""
    found: dict[str, list[float]] = {who: [] for who in TIMED}
    for _ in range(own.rounds):
        for who, each in found.items():
            each.append(asked(who, task, own, [])["rows_per_s"])
    medians = {who: statistics.median(each) for who, each in found.items()}
    print(f"{task}, rows a second: {json.dumps(medians)}", flush=True)
    return medians


def scores(task: str, own: argparse.Namespace) -> dict[str, list[float]]:
    """Return what three epochs reach on dev by our loop and by the one with grouped batches, a seed each."""
    sides = ("ours", "grouped")
    return {
        who: [asked(who, task, own, ["--score", "--seed", seed])["score"] for seed in range(own.seeds)] for who in sides
    }


def asked(who: str, task: str, own: argparse.Namespace, options: Sequence[object]) -> dict[str, Any]:
    """Return what a turn of one side finds."""
    return in_a_process(__file__, ["--turn", who, "--task", task, "--encoder", own.encoder, *options])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="rte,mrpc,cola")
    parser.add_argument("--encoder", type=Path, default=ENCODER)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--save")
    parser.add_argument("--turn", choices=tuple(TIMED), help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--score", action="store_true", help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.turn:
        print(json.dumps(turn(own)))
        return
    tasks = own.tasks.split(",")
    found: dict[str, dict[str, Any]] = {task: {} for task in tasks}
    figures: dict[str, Any] = {"tasks": found}
    if own.rounds:
        for task in tasks:
            found[task]["rows_per_s"] = speeds(task, own)
        for name, peer in (("ratio_default", "default"), ("ratio_grouped", "grouped")):
            ratios = (one["rows_per_s"]["ours"] / one["rows_per_s"][peer] for one in found.values())
            figures[name] = statistics.geometric_mean(ratios)
    if own.seeds:
        for task in tasks:
            found[task]["scores"] = scores(task, own)
            print(f"{task}: {json.dumps(found[task])}", flush=True)
        each = [one["scores"] for one in found.values()]
        figures["score_delta"] = statistics.mean(
            statistics.mean(one["ours"]) - statistics.mean(one["grouped"]) for one in each
        )
    if own.save:
        (RESULTS / f"{own.save}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

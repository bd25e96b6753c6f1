"""The scores of one task: all its runs, on all its sets, with what seeds and rows allow to say.

Sealed: ``predictions/<variant>/seed-<n>/<set>.parquet`` with ids, gold and predicted labels and logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bertwright import files
from bertwright.errors import DataError
from bertwright.stages.fine_tuned import Answering
from bertwright.stages.work import MODEL, Work
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.metrics import METRICS, decide, floor
from bertwright.tasks.readers import Rows, read_rows
from bertwright.tasks.statistics import compare, summarise
from bertwright.tasks.task import Task
from bertwright.training.precision import choose


@dataclass(frozen=True)
class _Set:
    """One set to score on: its rows and their labels as numbers."""

    rows: Rows
    gold: np.ndarray


def evaluate(work: Work) -> dict[str, Any]:
    """Score every run of a task on every set, summarise over seeds, and compare the variants."""
    sets = {label.removeprefix("set "): path for label, path in work.paths.items() if label != "train"}
    task = Task.from_options(work.options["task"], work.paths["train"], sets)
    torch.set_num_threads(work.machine.threads)
    labels = LabelMap.from_rows(read_rows(task, task.train), task.kind)
    found = {name: _read_set(task, labels, path) for name, path in sets.items()}
    answers: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for number, (role, folder) in enumerate(work.inputs.items()):
        variant, seed = role.rsplit("/", 1)
        for name, decided in _predict_run(work, task, labels, found, folder / MODEL, role).items():
            answers.setdefault(variant, {}).setdefault(name, {})[int(seed)] = decided
        work.tell({"share": (number + 1) / len(work.inputs)})
    positive = labels.names.index(task.positive) if labels.names and task.positive else None
    headline = {"set": headline_set(sets), "metric": task.metrics[0]}
    return {
        "task": task.name,
        "kind": task.kind,
        "headline": headline,
        "labels": list(labels.names or ()),
        "sets": {name: _facts(task, one, positive) for name, one in found.items()},
        "protocol": "one setting a task, the weights of the last epoch, nothing selected on any set",
        "variants": [
            {
                "variant": variant,
                "method": work.options["method"],
                "seeds": sorted(next(iter(by_set.values()))),
                "settings_tried": 1,
                "scores": _scores(task, found, by_set, positive),
            }
            for variant, by_set in answers.items()
        ],
        "comparisons": _comparisons(task, found, answers, positive),
        "notes": list(labels.notes),
    }


def headline_set(sets: Mapping[str, Path]) -> str:
    """Return the set that a task's headline stands on: test where there is one, else dev, else the first."""
    return next((name for name in ("test", "dev") if name in sets), next(iter(sets)))


def _read_set(task: Task, labels: LabelMap, path: Path) -> _Set:
    rows = read_rows(task, path)
    return _Set(rows, labels.numbers(rows))


def _predict_run(
    work: Work, task: Task, labels: LabelMap, sets: Mapping[str, _Set], folder: Path, role: str
) -> dict[str, np.ndarray]:
    """Answer all sets with one run's model, and keep the logits."""
    model = Answering(folder, choose(work.machine.device, work.machine.precision))
    if labels.names is not None and model.labels != labels.names:
        raise DataError(f"{folder}: its labels {model.labels} are not those of the training rows {labels.names}")
    decided = {}
    variant, seed = role.rsplit("/", 1)
    for name, one in sets.items():
        encoded = model.encode(one.rows.texts, work.options["max_length"])
        logits = model.logits(encoded)
        decided[name] = decide(logits, task.kind)
        _write(work.folder / "predictions" / variant / f"seed-{seed}" / f"{name}.parquet", one, decided[name], logits)
    return decided


def _write(path: Path, one: _Set, decided: np.ndarray, logits: np.ndarray) -> None:
    table = pa.table(
        {
            "id": list(one.rows.ids),
            "gold": one.gold.tolist(),
            "predicted": decided.tolist(),
            "logits": logits.tolist(),
        }
    )
    with files.writing(path) as stream:
        pq.write_table(table, stream)


def _facts(task: Task, one: _Set, positive: int | None) -> dict[str, Any]:
    floors = {metric: floor(one.gold, task.kind, metric, positive) for metric in task.metrics}
    return {"rows": len(one.rows), "floor": {metric: score.value for metric, score in floors.items()}}


def _scores(
    task: Task, sets: Mapping[str, _Set], by_set: Mapping[str, Mapping[int, np.ndarray]], positive: int | None
) -> dict[str, Any]:
    """Summarise each metric over seeds, set by set."""
    scores: dict[str, Any] = {}
    for name, by_seed in by_set.items():
        scores[name] = {}
        for metric in task.metrics:
            each = [METRICS[metric].compute(sets[name].gold, answer, positive) for answer in by_seed.values()]
            values = [score.value for score in each if score.value is not None]
            # A mean over the seeds that happen to be defined would flatter: one undefined score makes it undefined.
            summary = summarise(values if len(values) == len(each) else [])
            scores[name][metric] = {
                "values": [score.value for score in each],
                "mean": summary.mean,
                "deviation": summary.deviation,
                "interval": summary.interval,
                "notes": sorted({score.note for score in each if score.note}),
            }
    return scores


def _comparisons(
    task: Task,
    sets: Mapping[str, _Set],
    answers: Mapping[str, Mapping[str, Mapping[int, np.ndarray]]],
    positive: int | None,
) -> list[dict[str, Any]]:
    """Compare the first variant with each other one, by the headline metric."""
    first, *others = answers
    rows = []
    for other in others:
        for name, one in sets.items():
            found = compare(
                one.gold,
                list(answers[first][name].values()),
                list(answers[other][name].values()),
                metric=task.metrics[0],
                positive=positive,
            )
            if found is not None:
                rows.append(
                    {
                        "a": first,
                        "b": other,
                        "set": name,
                        "metric": task.metrics[0],
                        "difference": found.difference,
                        "interval": list(found.interval),
                        "clear": found.clear,
                        "samples": found.samples,
                    }
                )
    return rows

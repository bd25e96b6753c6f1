"""A made-up run, with the records that real stages leave. No number in it was measured."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from bertwright.reports.records import RunRecords

MACHINE = {"cpu": "Example CPU @ 2.50GHz", "cores": 2, "memory_bytes": 8_200_000_000, "system": "Linux 6.1"}
VERSIONS = {"bertwright": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "transformers": None}


def record(kind: str, name: str, seconds: float, results: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a stage's record."""
    return {
        "format": 1,
        "kind": kind,
        "name": name,
        "identity": f"{number:032x}",
        "options": {},
        "inputs": {},
        "files": {"model/model.safetensors": {"bytes": 45_000_000, "xxh3_128": "0" * 32}},
        "started": f"2025-03-04T10:{number:02d}:00+00:00",
        "seconds": seconds,
        "peak_memory_bytes": 700_000_000 + 90_000_000 * number,
        "disk_bytes": 4_000_000 * (number + 1),
        "machine": MACHINE,
        "versions": VERSIONS,
        "results": results,
    }


TOKENIZER = {"kind": "wordpiece", "vocabulary": 16_000, "bytes": 31_200_000, "documents": 10_400}
PREPARE = {
    "bytes": 31_200_000,
    "documents": 10_348,
    "duplicates": 12,
    "near_duplicates": 1,
    "full": 0.9991,
    "engine": {"name": "tokenizers", "reason": "tokie cannot load it (x)", "compared": 0, "by_tokenizers": 10_348},
    "held_out_documents": 52,
    "rows": 58_100,
    "held_out_rows": 295,
    "tokens": 7_320_000,
    "held_out_tokens": 37_100,
    "words": 5_010_000,
    "unknown": 210,
    "tokens_per_word": 1.468,
    "row_length": 128,
    "mean_document_tokens": 707.4,
    "longest_document_tokens": 11_930,
    "troubles": {"bytes that are no UTF-8, replaced": 17, "rows without the column, skipped": 3},
}
PRETRAIN = {
    "family": "bert",
    "size": "mini",
    "shape": {"layers": 4, "width": 256, "heads": 4, "inner": 1024, "vocabulary": 16_000, "positions": 512},
    "parameters": 7_461_248,
    "started_from": None,
    "notes": ["the budget of 20 min was split into 3,600 steps after the first minute"],
    "steps": 3_600,
    "tokens": 29_300_000,
    "seconds": 1_201.4,
    "tokens_per_second": 24_390.0,
    "utilisation": 0.61,
    "precision": "bfloat16 weights, float32 masters",
    "skipped_updates": 2,
    "interruptions": 1,
    "held_out_loss": 4.871,
    "first_held_out_loss": 9.713,
    "budget": "20 min",
    "schedule": "linear, 6 % warm-up",
    "optimizer": "muon + adamw",
    "batch": 64,
    "proof": {"class": "BertForMaskedLM", "largest_difference": 3.1e-6, "passed": True},
}


def pretrain_metrics() -> list[dict[str, Any]]:
    """Return the rows of a training log that falls, flattens and wobbles."""
    draw, rows = random.Random(0), []
    for step in range(1, 601):
        share = step / 600
        seen = {"step": 6 * step, "tokens": 48_800 * step, "seconds": 2.0 * step}
        loss = 4.8 + 4.9 * math.exp(-6 * share) + draw.gauss(0, 0.08)
        rate = 0.02 * min(share / 0.06, (1 - share) / 0.94)
        rows.append({**seen, "loss": loss, "learning_rate": rate, "norm": 1.0 + draw.random()})
        if step % 30 == 0 or step == 1:
            rows.append({**seen, "held_out_loss": 4.85 + 4.9 * math.exp(-6 * share)})
    return rows


def finetune(task: str, variant: str, seed: int) -> dict[str, Any]:
    """Return the results of one fine-tuning run."""
    return {
        "task": task,
        "variant": variant,
        "seed": seed,
        "method": "full",
        "settings": {"learning_rate": 1e-4, "batch": 32, "epochs": 3},
        "steps": 468,
        "epochs": 3.0,
        "seconds": 31.0 + seed,
        "rows": 5_000,
        "rows_cut": 14 if task == "triage" else 0,
        "train_loss": 0.21 + 0.01 * seed,
        "rows_per_second": 480.0,
        "trained_parameters": 7_465_000,
        "parameters": 7_465_000,
    }


def score(values: list[float | None], interval: list[float] | None, notes: list[str] | None = None) -> dict[str, Any]:
    """Return one score over seeds."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if len(known) == len(values) else None
    deviation = None
    if mean is not None and len(known) > 1:
        deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))
    return {"values": values, "mean": mean, "deviation": deviation, "interval": interval, "notes": notes or []}


def variant(name: str, scores: dict[str, Any]) -> dict[str, Any]:
    """Return one variant of a task."""
    told = {"method": "full", "protocol": "the weights of the last epoch", "settings_tried": 1}
    return {"variant": name, **told, "seeds": [0, 1, 2], "scores": scores}


TRIAGE = {
    "task": "triage",
    "kind": "single_label",
    "headline": {"set": "dev", "metric": "accuracy"},
    "labels": ["routine", "soon", "urgent"],
    "sets": {
        "dev": {"rows": 500, "floor": {"accuracy": 0.412, "macro_f1": 0.1945}},
        "night shift": {"rows": 120, "floor": {"accuracy": 0.45, "macro_f1": 0.2069}},
    },
    "variants": [
        variant(
            "pretrained",
            {
                "dev": {
                    "accuracy": score([0.842, 0.848, 0.836], [0.8271, 0.8569]),
                    "macro_f1": score([0.811, 0.82, 0.803], [0.7902, 0.8325]),
                },
                "night shift": {"accuracy": score([0.741, 0.75, 0.733], [0.7202, 0.7625])},
            },
        ),
        variant(
            "untrained",
            {
                "dev": {
                    "accuracy": score([0.702, 0.714, 0.69], [0.6722, 0.7318]),
                    "macro_f1": score([0.66, None, 0.64], None, ["seed 1 never predicts urgent"]),
                },
                "night shift": {"accuracy": score([0.733, 0.742, 0.725], [0.7122, 0.7545])},
            },
        ),
    ],
    "comparisons": [
        {
            "a": "pretrained",
            "b": "untrained",
            "set": "dev",
            "metric": "accuracy",
            "difference": 0.14,
            "interval": [0.108, 0.171],
            "clear": True,
        },
        {
            "a": "pretrained",
            "b": "untrained",
            "set": "night shift",
            "metric": "accuracy",
            "difference": 0.008,
            "interval": [-0.031, 0.049],
            "clear": False,
        },
    ],
}
SIMILAR = {
    "task": "similar",
    "kind": "regression",
    "headline": {"set": "dev", "metric": "spearman"},
    "labels": [],
    "sets": {"dev": {"rows": 300, "floor": {"spearman": None}}},
    "variants": [
        variant("pretrained", {"dev": {"spearman": score([0.702, 0.711, 0.689], [0.6733, 0.728])}}),
        variant("untrained", {"dev": {"spearman": score([0.12, 0.17, 0.10], [0.0404, 0.2196])}}),
    ],
    "comparisons": [
        {
            "a": "pretrained",
            "b": "untrained",
            "set": "dev",
            "metric": "spearman",
            "difference": 0.5707,
            "interval": [0.481, 0.652],
            "clear": True,
        }
    ],
}


def made_up_run(*kinds: str) -> RunRecords:
    """Return the made-up run, or only its stages of the kinds named."""
    parts: list[tuple[str, str, float, dict[str, Any]]] = [
        ("tokenizer", "tokenizer", 12.1, TOKENIZER),
        ("prepare", "prepare", 60.0, PREPARE),
        ("pretrain", "pretrain", 1_236.0, PRETRAIN),
        ("initialise", "untrained", 1.2, {"family": "bert", "size": "mini", "parameters": 7_461_248, "notes": []}),
    ]
    for task in ("triage", "similar"):
        for name in ("pretrained", "untrained"):
            for seed in range(3):
                run = finetune(task, name, seed)
                parts.append(("finetune", f"finetune/{task}/{name}/seed-{seed}", run["seconds"], run))
    parts += [("evaluate", "evaluate/triage", 6.0, TRIAGE), ("evaluate", "evaluate/similar", 3.1, SIMILAR)]
    stages = [record(*part, number) for number, part in enumerate(parts)]
    forecast = {
        one["name"]: {
            "seconds": 0.5 * one["seconds"] if one["name"] == "prepare" else 0.93 * one["seconds"],
            "memory_bytes": 1.1 * one["peak_memory_bytes"],
            "disk_bytes": 1.02 * one["disk_bytes"],
        }
        for one in stages
    }
    return RunRecords(
        name="night-ward",
        recipe_yaml="name: night-ward\nseed: 0\npretrain:\n  budget: 20 min\n",
        stages=tuple(one for one in stages if not kinds or one["kind"] in kinds),
        metrics={"pretrain": pretrain_metrics()} if not kinds or "pretrain" in kinds else {},
        forecast=forecast,
        command="bertwright run recipe.yaml",
        created="2025-03-04T11:02:00+00:00",
        reused=("tokenizer", "prepare"),
    )


@pytest.fixture
def made_up() -> Callable[..., RunRecords]:
    """Makes a run that has only the stages of the kinds named."""
    return made_up_run


@pytest.fixture
def whole_run() -> RunRecords:
    """A run with every kind of stage, two tasks, two variants and three seeds."""
    return made_up_run()

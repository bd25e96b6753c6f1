"""Toy words, and recipes on them that go the whole road in seconds, in a folder of their own."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

WORDS = [a + b + c for a in ("ba", "ko", "mi", "tu") for b in ("la", "re", "so") for c in ("n", "k", "sh", "")]


def sentence(draw: random.Random, low: int, high: int) -> str:
    """Return a few drawn words from a part of the list."""
    return " ".join(draw.choice(WORDS[low:high]) for _ in range(draw.randint(4, 9)))


def toy_in(tmp_path: Path) -> Callable[..., Path]:
    """Return what ``toy`` returns, for a folder."""
    draw = random.Random(0)
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(3):
        documents = ["\n".join(sentence(draw, 0, 48) for _ in range(6)) for _ in range(20)]
        (texts / f"{number}.txt").write_text("\n\n".join(documents) + "\n")
    for name, count in (("train", 48), ("dev", 24)):
        rows = [
            {"text": sentence(draw, 24 * (i % 2), 24 * (i % 2) + 24), "label": ("high", "low")[i % 2]}
            for i in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(**changes: Any) -> Path:
        document: dict[str, Any] = {
            "system": {"threads": 1, "precision": "fp32", "attention": "matmul"},
            "prepare": {"sources": ["texts"], "row_length": 16, "held_out": "5 %"},
            "tokenizer": {"vocabulary": 90},
            "encoder": {"size": "tiny", "layers": 1, "width": 16, "heads": 2, "inner": 32, "positions": 32},
            "pretrain": {"budget": "12 steps", "batch": 8, "evaluations": 2, "checkpoint_every": "3 steps"},
            "finetune": {"epochs": 1, "batch": 16, "seeds": 2, "max_length": 16, "baseline": True},
            "tasks": [{"name": "height", "train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text"}],
        }
        for name, value in changes.items():
            if isinstance(value, dict) and isinstance(document.get(name), dict):
                document[name] = {**document[name], **value}
            else:
                document[name] = value
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in document.items() if v is not None}, sort_keys=False))
        return path

    return write


_RATES = {"baseline": False, "seeds": 1, "epochs": 2, "learning_rate": 5e-3, "batch": 8}


def deep_in(tmp_path: Path, deep_folder: Path) -> Callable[..., Path]:
    """Return what ``deep`` returns, for a folder."""
    toy = toy_in(tmp_path)
    draw = random.Random(7)
    rows = [{"text": sentence(draw, 0, 48), "label": draw.choice(("high", "low"))} for _ in range(24)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(**changes: Any) -> Path:
        sets = {"dev": "dev.jsonl", "odd": "odd.jsonl"}
        task = {"name": "height", "train": "train.jsonl", "sets": sets, "text": "text", **changes.pop("task", {})}
        finetune = {**_RATES, **changes.pop("finetune", {})}
        off = {"prepare": None, "tokenizer": None, "pretrain": None}
        return toy(**{**off, "encoder": None, "tasks": [task], "finetune": finetune, **changes})

    def with_folder(**changes: Any) -> Path:
        path = write(**changes)
        path.write_text(path.read_text() + f"encoder: {{folder: {deep_folder}}}\n")
        return path

    return with_folder

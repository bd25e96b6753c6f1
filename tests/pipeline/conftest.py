"""A toy corpus, a toy task and a recipe that goes the whole road in seconds."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.models import build_masked_lm
from bertwright.stages.model_folder import save_model
from bertwright.text.tokenizer import train_tokenizer

WORDS = [a + b + c for a in ("ba", "ko", "mi", "tu") for b in ("la", "re", "so") for c in ("n", "k", "sh", "")]


def sentence(draw: random.Random, low: int, high: int) -> str:
    """Return a few drawn words from a part of the list."""
    return " ".join(draw.choice(WORDS[low:high]) for _ in range(draw.randint(4, 9)))


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the recipe, with changed sections if asked, and gives its path."""
    return toy_in(tmp_path)


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


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn encoder with a tokenizer of the toy words, as a model folder."""
    draw = random.Random(1)
    tokenizer = train_tokenizer(
        [sentence(draw, 0, 48) for _ in range(400)], kind="wordpiece", vocabulary=90, lowercase=True
    )
    shape = {"width": 16, "layers": 1, "heads": 2, "inner": 32, "positions": 32}
    config = EncoderConfig(family="bert", vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id, **shape)
    folder = tmp_path_factory.mktemp("encoder")
    save_model(folder, build_masked_lm(config, seed=0), tokenizer)
    return folder


@pytest.fixture
def tuned(toy: Callable[..., Path], encoder_folder: Path) -> Callable[..., Path]:
    """As ``toy``, on an encoder that is there already: nothing but fine-tuning is done."""

    def write(**changes: Any) -> Path:
        path = toy(**{"prepare": None, "tokenizer": None, "pretrain": None, "encoder": None, **changes})
        document = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**document, "encoder": {"folder": str(encoder_folder)}}, sort_keys=False))
        return path

    return write


_RATES = {"baseline": False, "seeds": 1, "epochs": 2, "learning_rate": 5e-3, "batch": 8}


@pytest.fixture(scope="session")
def deep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn encoder of three layers, with a tokenizer of the toy words."""
    draw = random.Random(1)
    words = [sentence(draw, 0, 48) for _ in range(400)]
    tokenizer = train_tokenizer(words, kind="wordpiece", vocabulary=90, lowercase=True)
    shape = {"width": 16, "layers": 3, "heads": 2, "inner": 32, "positions": 32}
    config = EncoderConfig(family="bert", vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id, **shape)
    folder = tmp_path_factory.mktemp("deep")
    save_model(folder, build_masked_lm(config, seed=0), tokenizer)
    return folder


@pytest.fixture
def deep(deep_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """As ``toy``, on an encoder of three layers; the set ``odd`` has labels that do not follow from the words."""
    return deep_in(tmp_path, deep_folder)


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 20 MB of its own; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield place
    subprocess.run(["umount", place], check=True)

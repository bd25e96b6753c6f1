"""A toy corpus, a toy task and a recipe that goes the whole road in seconds."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_recipes import deep_in, sentence, toy_in

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.model_folder import save_model
from bertwright.encoder.models import build_masked_lm
from bertwright.text.tokenizer import train_tokenizer


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the recipe, with changed sections if asked, and gives its path."""
    return toy_in(tmp_path)


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

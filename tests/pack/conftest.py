"""A toy encoder as an ordinary folder, and packs made for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_packs import loaded, toy_pack

from bertwright.encoder import families
from bertwright.encoder.model_folder import save_model
from bertwright.encoder.models import MaskedLM
from bertwright.pack import Pack
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

MakePack = Callable[..., Pack]
WORDS = [a + b + c for a in ("ba", "ko", "mi", "tu") for b in ("la", "re", "so") for c in ("n", "k", "sh", "")]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A tokenizer of toy words."""
    texts = (" ".join(WORDS[start::step]) for step in range(1, 9) for start in range(9))
    return train_tokenizer(texts, kind="wordpiece", vocabulary=61, lowercase=True)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """The folder of an encoder with a pooler."""
    folder, drawn = tmp_path_factory.mktemp("encoder"), loaded()
    assert drawn.masked_lm_head is not None
    save_model(folder, MaskedLM(drawn.encoder, drawn.masked_lm_head, drawn.pooler), tokenizer)
    return folder


@pytest.fixture(scope="session")
def made(encoder: Path, tokenizer: Tokenizer) -> MakePack:
    """Return a function that makes a pack for the folder."""

    def make(**changes: object) -> Pack:
        return toy_pack(families.load(encoder), **{"tokenizer": tokenizer.identity(), **changes})

    return make

"""Toy encoders as exported folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Toy encoders and packs are those of the packs' tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "pack"))

from toy_exports import MakeToy, Toy, toy


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> MakeToy:
    """Return a function that exports a toy encoder with three packs; the same call gives the same folder."""
    made: dict[str, Toy] = {}

    def make(family: str = "bert", **changes: object) -> Toy:
        key = f"{family} {sorted(changes.items())}"
        if key not in made:
            made[key] = toy(tmp_path_factory.mktemp("toy") / "export", family, **changes)
        return made[key]

    return make

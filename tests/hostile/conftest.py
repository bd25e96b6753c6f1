"""Toys of other rooms."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.extend(str(Path(__file__).parents[1] / room) for room in ("pack", "deploy", "pipeline"))

from toy_exports import Toy, toy


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A toy encoder with three packs, exported; not to be changed."""
    return toy(tmp_path_factory.mktemp("exported") / "export")

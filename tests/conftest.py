"""Fixtures of all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Nothing in the tests may ask a network: a model or tokenizer that is not local has to fail at once.
os.environ["HF_HUB_OFFLINE"] = "1"
# Toy tensors gain nothing from a second thread, and lose much where the machine is shared.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora and tasks beside the repository; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data is not beside the repository ({SHARED_DATA} is absent)")
    return SHARED_DATA

"""A fault at any operation on the disk loses nothing; see `sweep.py` for how that is tried."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SWEEP = Path(__file__).parent / "sweep.py"


def swept(*arguments: str, seconds: float) -> dict[str, Any]:
    """Run the sweep in a process of its own, which forks; return its last line."""
    done = subprocess.run(
        [sys.executable, str(SWEEP), *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert 0 == done.returncode, done.stderr[-5000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_faults_spread_over_a_pipeline_lose_nothing() -> None:
    """A dozen operations and two signals, drawn: the store verifies, the same command continues to the same bytes."""
    found = swept("--sample", "12", "--stops", "2", "--only", "prepare", "pretrain", "finetune", seconds=280)
    assert (12, 2, 0) == (found["faults"], found["stops"], found["lost"])
    assert found["points"] > 800


@pytest.mark.faults
@pytest.mark.timeout(24 * 3600)
def test_a_fault_at_every_operation_loses_nothing() -> None:
    """Every operation of all commands, in every way that makes sense; at drawn moments 200 signals, half kills."""
    found = swept("--stops", "200", seconds=24 * 3600)
    assert (found["possible"], 0) == (found["faults"], found["lost"])

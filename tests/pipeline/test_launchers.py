"""Ranks that other launchers start, and runs that go on with another number of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import bertwright

Toy = Callable[..., Path]
TORCHRUN = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
TORCHRUN += ["--rdzv-endpoint", "127.0.0.1:0"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return an encoder's tensors."""
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("launcher", [TORCHRUN], ids=["torchrun"])
def test_a_launchers_ranks_train_together(toy: Toy, tmp_path: Path, launcher: list[str]) -> None:
    """The first rank does the text and tells the result, both train; the weights are those of one process."""
    path = toy(tasks=[])
    alone = bertwright.pretrain(bertwright.load_recipe(path, [f"store={tmp_path / 'alone'}"]))
    command = [sys.executable, "-m", *launcher, "-m", "bertwright", "pretrain", str(path), f"store={tmp_path / 'two'}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert 0 == done.returncode, done.stderr
    assert 1 == done.stdout.count("pretrained from scratch")
    for name, tensor in weights(alone.folder / "encoder").items():
        torch.testing.assert_close(
            weights(tmp_path / "two" / "runs" / "toy" / "encoder")[name], tensor, atol=2e-5, rtol=1e-4
        )

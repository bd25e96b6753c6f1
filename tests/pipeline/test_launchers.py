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
from bertwright.errors import InputError, RunError
from bertwright.training.launch import Launch

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


# Muon's matrices are made orthogonal in bf16: another order of sums is seen in its third digit.
@pytest.mark.parametrize(("optimizer", "near"), [("adamw", 2e-4), ("muon", 6e-3)])
def test_divided_weights_learn_the_same(toy: Toy, tmp_path: Path, optimizer: str, near: float) -> None:
    """Two ranks with half of the weights each, also on the way: one process's weights."""
    path = toy(tasks=[], pretrain={"save_at": "50 %"})
    changes = [f"pretrain.optimizer={optimizer}"]
    alone = bertwright.pretrain(bertwright.load_recipe(path, [*changes, f"store={tmp_path / 'alone'}"]))
    divided = [*changes, f"store={tmp_path / 'two'}", "system.devices=2", "system.sharding=true"]
    together = bertwright.pretrain(bertwright.load_recipe(path, divided))
    for name in ("encoder", "encoder-50"):
        for key, tensor in weights(alone.folder / name).items():
            torch.testing.assert_close(weights(together.folder / name)[key], tensor, atol=near, rtol=1e-3)
    losses = [one.stages["pretrain"].record["results"]["held_out_loss"] for one in (alone, together)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_a_batch_that_ranks_cannot_share_evenly_is_told(toy: Toy) -> None:
    """Divided weights meet in every pass: each rank has to make as many."""
    recipe = bertwright.load_recipe(toy(tasks=[]), ["system.devices=2", "system.sharding=true", "pretrain.batch=7"])
    with pytest.raises(RunError, match="7 rows among 2 ranks, the same for each"):
        bertwright.pretrain(recipe)


@pytest.mark.parametrize(("name", "engine"), [("DEEPSPEED", "DeepSpeed"), ("FSDP", "accelerate's FSDP")])
def test_an_engine_of_the_launcher_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, name: str, engine: str) -> None:
    """What would be left out in silence is refused, with what does the same."""
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(InputError, match=f"asks for {engine} .*system.sharding=true"):
        Launch()


def test_divided_weights_are_forecast_once(toy: Toy) -> None:
    """Two ranks hold a model twice, or half of it each."""
    path = toy(tasks=[], encoder={"width": 512, "layers": 4, "heads": 8})
    needs = [
        bertwright.check(bertwright.load_recipe(path, ["system.devices=2", f"system.sharding={value}"])).stages
        for value in ("false", "true")
    ]
    twice, once = (one["pretrain"]["memory_bytes"] for one in needs)
    assert once < twice - 50_000_000

"""The loop: micro-batches, interruptions, divergence, precision, ranks."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertwright import files
from bertwright.errors import Diverged, Interrupted, RunError
from bertwright.training import checkpoint, loss_scale, ranks, trainable
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence
from bertwright.training.checkpoint import State
from bertwright.training.feed import Feed
from bertwright.training.loop import Outcome, train
from bertwright.training.losses import Loss, LossSum, cross_entropy_sum, masked_lm_loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.order import Place
from bertwright.training.ranks import Ranks, start
from bertwright.training.schedules import Schedule


class Toy(nn.Module):
    """A small network with dropout, so that exact resumption has something to get wrong."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, 1)
        self.dropout = nn.Dropout(0.3)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Predict one number a row."""
        out: Tensor = self.head(self.dropout(torch.tanh(self.body(x)))).squeeze(-1)
        return out


class ToyBatches:
    """Twelve rows a step, drawn from the step's number, with labels of uneven count."""

    steps_per_epoch = 5

    def __init__(self, micro_batch: int = 12, poison: Sequence[int] = ()) -> None:
        self.micro_batch = micro_batch
        self.poison = poison

    def rows(self, place: Place) -> int:
        """Return the rows of a step."""
        return 12

    def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
        """Return the micro-batches of a step."""
        number = place.row // 12
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(12, 6, generator=generator)
        labels = x.sum(dim=1) + (float("nan") if number in self.poison else 0.0)
        x, labels = x[rank::world], labels[rank::world]
        parts = zip(x.split(self.micro_batch), labels.split(self.micro_batch), strict=True)
        return [{"x": a, "labels": b, "count": len(b), "tokens": a.numel()} for a, b in parts]


def loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
    """Squared error, summed."""
    found = model(batch["x"].to(next(model.parameters()).dtype)).float()
    return LossSum((found - batch["labels"]).square().sum(), batch["count"])


def go(
    folder: Path,
    model: Toy,
    batches: Any = None,
    *,
    steps: int = 20,
    every: int = 4,
    ranks: Ranks | None = None,
    optimizer: str = "adamw",
    momentum: float = 0.9,
    in_part: bool = False,
    loss: Loss = loss,
    **changes: Any,
) -> Outcome:
    """Train a toy for some steps: all of it, or the head and, ``in_part``, some numbers of a bias."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen: trainable.Chosen = {name: None for name, part in model.named_parameters() if part.requires_grad}
    if in_part:
        chosen = {**trainable.head(model), "body.bias": torch.tensor([1, 3, 6])}
        trainable.freeze_others(model, chosen)
    hidden = {"hidden": frozenset({"body.weight"}), "hidden_learning_rate": 0.1}
    made = Optimizer(
        [(name, part) for name, part in model.named_parameters() if name in chosen],
        name=optimizer,
        settings=Settings(learning_rate=0.02, weight_decay=0.1, momentum=momentum, **hidden),
        entries=trainable.entries_of(chosen),
    )
    settings: dict[str, Any] = {
        "schedule": Schedule("linear"),
        "warmup": 0.1,
        "budget": Budget("steps", steps),
        "clip": 1.0,
        "seed": 3,
        "ranks": ranks or Ranks(),
        "folder": folder,
        "metrics": folder / "metrics.jsonl",
        **changes,
    }
    beside = {name: settings.pop(name) for name in list(settings) if name in Cadence.__dataclass_fields__}
    settings["cadence"] = Cadence(**{"checkpoint_every": Budget("steps", every), **beside})
    return train(model, batches or ToyBatches(), loss, made, **settings)


def weights(model: nn.Module) -> Tensor:
    """Return all parameters as one vector."""
    return torch.cat([parameter.detach().float().reshape(-1) for parameter in model.parameters()])


def test_micro_batches_change_nothing(tmp_path: Path) -> None:
    """Twelve rows at once, or in pieces of 5, 5 and 2, give the same weights up to rounding."""
    models = [Toy().eval(), Toy().eval()]
    for model in models:
        model.dropout.p = 0.0
    go(tmp_path / "a", models[0])
    go(tmp_path / "b", models[1], ToyBatches(micro_batch=5))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), atol=1e-6, rtol=1e-5)


def test_the_mean_is_over_what_a_loss_counts(tmp_path: Path) -> None:
    """A loss that passes over some rows says so by its count, and the rest are as if they stood alone."""

    class Fewer(ToyBatches):
        """The first seven rows of each step alone."""

        def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
            [batch] = super().step(place, rank, world)
            return [{"x": batch["x"][:7], "labels": batch["labels"][:7], "count": 7, "tokens": batch["tokens"]}]

    def first_seven(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
        return loss(model, {"x": batch["x"][:7], "labels": batch["labels"][:7], "count": 7})

    ours, alone = Toy(), Toy()
    ours.dropout.p = alone.dropout.p = 0.0
    outcomes = [
        go(tmp_path / "ours", ours, optimizer="sgd", clip=None, loss=first_seven),
        go(tmp_path / "alone", alone, Fewer(), optimizer="sgd", clip=None),
    ]
    assert torch.equal(weights(ours), weights(alone))
    assert outcomes[0].train_loss == outcomes[1].train_loss


class Killed(BaseException):
    """Stands for a kill: nothing in the loop may catch it."""


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stop", [1, 6, 7, 13])
def test_a_killed_run_continues_to_the_same_bits(tmp_path: Path, stop: int, dtype: torch.dtype, optimizer: str) -> None:
    """A kill at any step, then the same command: weights and metrics equal an uninterrupted run's, to the bit."""

    class Trap(ToyBatches):
        def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
            if place.step == stop:
                raise Killed
            return super().step(place, rank, world)

    whole, killed, stopped = Toy(dtype), Toy(dtype), Toy(dtype)
    measure: dict[str, Any] = {"evaluations": 4, "optimizer": optimizer}
    uninterrupted = go(tmp_path / "whole", whole, evaluate=lambda: {"weights": float(weights(whole).sum())}, **measure)
    with pytest.raises(Killed):
        go(tmp_path / "stopped", killed, Trap(), evaluate=lambda: {"weights": float(weights(killed).sum())}, **measure)
    outcome = go(tmp_path / "stopped", stopped, evaluate=lambda: {"weights": float(weights(stopped).sum())}, **measure)
    assert torch.equal(weights(whole), weights(stopped))
    assert (20, 1 if stop > 4 else 0) == (outcome.steps, outcome.interruptions)
    assert uninterrupted.train_loss == outcome.train_loss is not None
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "stopped")


def timeless(folder: Path) -> list[dict[str, Any]]:
    """Return a run's metrics without the seconds."""
    return [{**row, "seconds": 0} for row in files.read_json_lines(folder / "metrics.jsonl")]


def test_a_stop_after_the_last_step_keeps_the_train_loss(tmp_path: Path) -> None:
    """A kill between the last step and the seal: the same command makes no step and still knows the loss."""
    first = go(tmp_path, Toy())
    again = go(tmp_path, Toy())
    assert (20, 1) == (again.steps, again.interruptions)
    assert first.train_loss == again.train_loss is not None


def test_sigterm_saves_and_leaves(tmp_path: Path) -> None:
    """SIGTERM ends the step, saves, and says that the same command continues; it then does, to the same bits."""

    class Asking(ToyBatches):
        def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
            if place.step == 9:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().step(place, rank, world)

    whole, stopped = Toy(), Toy()
    go(tmp_path / "whole", whole)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"after step 10.*same command continues"):
        go(tmp_path / "stopped", Toy(), Asking(), every=1000)
    assert before == signal.getsignal(signal.SIGTERM)
    go(tmp_path / "stopped", stopped, every=1000)
    assert torch.equal(weights(whole), weights(stopped))


def test_a_step_without_a_finite_loss_makes_no_update(tmp_path: Path) -> None:
    """A poisoned step is skipped and counted, and the optimizer is as if it had not been."""
    model = Toy()
    outcome = go(tmp_path, model, ToyBatches(poison=[3, 4]))
    assert (2, 22) == (outcome.skipped, outcome.steps)  # a skipped step is not one of the budget's
    assert torch.isfinite(weights(model)).all()
    tensors, _ = checkpoint.latest(tmp_path) or ({}, State())
    assert 20.0 == float(tensors["step/body.weight"])


def test_divergence_names_step_checkpoint_and_remedy(tmp_path: Path) -> None:
    """After ten such steps in a row the run ends; the last good checkpoint is named and there."""
    with pytest.raises(Diverged, match=r"10 steps in a row.*step 16\).*is checkpoint-000000004\. Lower"):
        go(tmp_path, Toy(), ToyBatches(poison=range(7, 40)), steps=40)
    tensors, state = checkpoint.latest(tmp_path) or ({}, State())
    assert state.step > 0
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_a_divergence_by_the_clock_leaves_the_last_good_checkpoints(tmp_path: Path) -> None:
    """Time goes on while steps are skipped, and checkpoints of those took the places of the good ones."""
    with pytest.raises(Diverged, match=r"is checkpoint-000000007\. Lower"):
        (tmp_path / "checkpoint-000000040.tmp").mkdir()  # a write that was killed is none
        go(tmp_path, Toy(), ToyBatches(poison=range(7, 40)), steps=40, checkpoint_every=Budget("seconds", 1e-6))
    kept = sorted(path.name for path in tmp_path.glob("checkpoint-*") if path.suffix != ".tmp")
    assert ["checkpoint-000000006", "checkpoint-000000007"] == kept


@pytest.mark.parametrize(
    ("step", "told"), [(0, "before the first step .*nan.*precision"), (8, "nan.* step 8;.*`learning_rate`")]
)
def test_an_evaluation_that_is_no_number_is_a_divergence(tmp_path: Path, step: int, told: str) -> None:
    """It was written to JSON, which has no NaN: a fault of the loop's own. It ends the run, and is noted as null."""
    values = iter([*[1.0] * (step // 4), float("nan")])
    with pytest.raises(Diverged, match=told):
        go(tmp_path, Toy(), evaluate=lambda: {"held_out_loss": next(values)}, evaluations=5)
    last = files.read_json_lines(tmp_path / "metrics.jsonl")[-1]
    assert (step, None) == (last["step"], last["held_out_loss"])


def test_divergence_before_any_checkpoint_says_so(tmp_path: Path) -> None:
    """There is none to name."""
    with pytest.raises(Diverged, match=r"No such update was made; no checkpoint was written yet\. Lower"):
        go(tmp_path, Toy(), ToyBatches(poison=range(40)), steps=40)


def test_bf16_weights_do_not_lose_small_updates(tmp_path: Path) -> None:
    """A thousand updates of 1e-5 move a weight of 1 by 1e-2 through its fp32 master; bf16 alone would stay at 1."""
    weight = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    optimizer = Optimizer(
        [("w", weight)], name="adamw", settings=Settings(learning_rate=1e-5, weight_decay=0.0, eps=1e-12)
    )
    for _ in range(1000):
        weight.grad = torch.ones_like(weight)
        optimizer.accumulate()
        optimizer.step(scale=1.0, multiplier=1.0)
    assert pytest.approx(0.99, abs=1e-4) == float(optimizer.masters[0].detach()[0, 0])
    assert pytest.approx(0.99, abs=4e-3) == float(weight.detach()[0, 0])


def test_the_update_is_that_of_pytorchs_adamw(tmp_path: Path) -> None:
    """Mean loss, clipping, decay on matrices only and the schedule give what a plain PyTorch loop gives."""
    ours, plain = Toy(), Toy()
    ours.dropout.p = plain.dropout.p = 0.0
    go(tmp_path, ours, steps=10)
    matrices = [p for p in plain.parameters() if p.dim() > 1]
    vectors = [p for p in plain.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.98), eps=1e-6)
    for step in range(10):
        [batch] = ToyBatches().step(Place(step, 12 * step), 0, 1)
        optimizer.zero_grad()
        (plain(batch["x"]) - batch["labels"]).square().mean().backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        for group in optimizer.param_groups:
            # One step of ten rises; nine fall.
            group["lr"] = 0.02 * (1.0 if step == 0 else (9 - (step - 1)) / 9)
        optimizer.step()
    torch.testing.assert_close(weights(plain), weights(ours), atol=1e-6, rtol=1e-5)


def test_muon_has_the_hidden_matrices_and_adamw_the_rest(tmp_path: Path) -> None:
    """Each gets its own peak rate, and the updates are those of PyTorch's own two optimizers."""
    ours, plain = Toy(), Toy()
    ours.dropout.p = plain.dropout.p = 0.0
    go(tmp_path, ours, steps=10, optimizer="muon", schedule=Schedule("constant"), warmup=0.0, clip=None)
    muon = torch.optim.Muon([plain.body.weight], lr=0.1, weight_decay=0.1)
    matrix, vectors = [plain.head.weight], [plain.body.bias, plain.head.bias]
    groups = [{"params": matrix, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.98), eps=1e-6)
    for step in range(10):
        [batch] = ToyBatches().step(Place(step, 12 * step), 0, 1)
        plain.zero_grad()
        (plain(batch["x"]) - batch["labels"]).square().mean().backward()
        muon.step()
        adamw.step()
    torch.testing.assert_close(weights(plain), weights(ours), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_that_of_pytorch(tmp_path: Path, momentum: float) -> None:
    """With momentum and without, decay on matrices only."""
    ours, plain = Toy(), Toy()
    ours.dropout.p = plain.dropout.p = 0.0
    choices: dict[str, Any] = {"optimizer": "sgd", "momentum": momentum, "clip": None, "warmup": 0.0}
    choices["schedule"] = Schedule("constant")
    go(tmp_path, ours, steps=10, **choices)
    matrices = [p for p in plain.parameters() if p.dim() > 1]
    vectors = [p for p in plain.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.02, momentum=momentum)
    for step in range(10):
        [batch] = ToyBatches().step(Place(step, 12 * step), 0, 1)
        optimizer.zero_grad()
        (plain(batch["x"]) - batch["labels"]).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(weights(plain), weights(ours), atol=1e-6, rtol=1e-5)


def test_a_frozen_part_stays_and_costs_no_state(tmp_path: Path) -> None:
    """`head` trains the head alone: the body keeps its bits and has no place in the checkpoint."""
    model = Toy()
    body = model.body.weight.detach().clone()
    chosen = trainable.head(model)
    assert ["head.weight", "head.bias"] == list(chosen)
    trainable.freeze_others(model, chosen)
    go(tmp_path, model, steps=4)
    assert torch.equal(body, model.body.weight)
    tensors, _ = checkpoint.latest(tmp_path) or ({}, State())
    assert {"head.weight", "head.bias"} == {name.partition("/")[2] for name in tensors}


def test_a_budget_in_time_ends_its_schedule_on_time(tmp_path: Path) -> None:
    """After half a second of work the run ends, its last rate near zero."""
    outcome = go(tmp_path, Toy(), budget=Budget("seconds", 0.5), every=100_000)
    rows = [row for row in files.read_json_lines(tmp_path / "metrics.jsonl") if "learning_rate" in row]
    assert 0.5 <= outcome.seconds < 0.8
    assert rows[-1]["learning_rate"] < 0.02 * 0.1


def test_metrics_stay_few(tmp_path: Path) -> None:
    """Two thousand steps leave about five hundred lines."""
    go(tmp_path, Toy(), steps=2000, every=100_000)
    assert 500 == len(files.read_json_lines(tmp_path / "metrics.jsonl"))


@pytest.mark.parametrize("fault", ["cut", "changed", "half", "state"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, fault: str) -> None:
    """A cut, changed or half-written newest checkpoint is not taken; the one before is."""
    for step in (1, 2):
        checkpoint.save(tmp_path, {"a": torch.full((8,), float(step))}, State(step=step))
    newest = tmp_path / "checkpoint-000000002"
    blob = (newest / "tensors.safetensors").read_bytes()
    if fault == "cut":
        (newest / "tensors.safetensors").write_bytes(blob[:-5])
    elif fault == "changed":
        (newest / "tensors.safetensors").write_bytes(blob[:-1] + b"\x7f")
    elif fault == "state":
        (newest / "state.json").write_text("{")
    else:
        newest.rename(tmp_path / "checkpoint-000000002.tmp")
    tensors, state = checkpoint.latest(tmp_path) or ({}, State())
    assert (1, 1.0) == (state.step, float(tensors["a"][0]))


def test_a_checkpoint_is_the_file_that_safetensors_writes(tmp_path: Path) -> None:
    """To the byte, for all formats and shapes that an optimizer keeps, and with no second copy of it in memory."""
    shapes = ((), (3,), (0, 4), (5, 2))
    for formats in ((torch.int64, torch.float32, torch.bfloat16), (torch.float64, torch.float16)):
        tensors = {f"{d}/{s} é": torch.arange(40).to(d)[: math.prod(s)].reshape(s) for d in formats for s in shapes}
        tensors["turned"] = torch.arange(6.0).to(formats[0]).reshape(2, 3).T
        path = checkpoint.save(tmp_path, tensors, State(step=1)) / "tensors.safetensors"
        expected = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
        assert expected == path.read_bytes()
    large = {str(number): torch.zeros(1 << 18) for number in range(20)}
    tracemalloc.start()
    checkpoint.save(tmp_path, large, State(step=2))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5 << 20  # of 21 MB; that of the checksum is a block


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    """Older ones are removed."""
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, {"a": torch.zeros(1)}, State(step=step))
    assert ["checkpoint-000000002", "checkpoint-000000003"] == sorted(path.name for path in tmp_path.iterdir())


def rank(argument: Mapping[str, Any]) -> None:
    """Train as one of several ranks; the first writes its weights. Run in a process of its own."""
    torch.set_num_threads(1)
    ranks = Ranks.from_environment()
    if argument.get("fail") == ranks.rank:
        raise ValueError("planned failure")
    if argument.get("killed") == ranks.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    model = Toy()
    model.dropout.p = 0.0
    go(Path(argument["folder"]), model, ranks=ranks, in_part=argument.get("in_part", False))
    if ranks.rank == 0:
        Path(argument["folder"], "weights.json").write_text(json.dumps(weights(model).tolist()))


@pytest.mark.parametrize("in_part", [False, True])
def test_two_ranks_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_part: bool) -> None:
    """Two gloo processes on the same global batch give one process's weights, to 1e-5; also where some biases learn."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    start(2, "test_loop:rank", {"folder": str(tmp_path / "two"), "in_part": in_part}, threads=2)
    model = Toy()
    model.dropout.p = 0.0
    go(tmp_path / "one", model, in_part=in_part)
    assert in_part == torch.equal(Toy().body.bias[:1], model.body.bias[:1])
    two = torch.tensor(json.loads((tmp_path / "two" / "weights.json").read_text()))
    torch.testing.assert_close(weights(model), two, atol=1e-5, rtol=1e-5)


def test_a_killed_run_continues_as_two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun alone in micro-batches of five, killed, continued by two processes with all at once: the same weights."""

    class Trap(ToyBatches):
        def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
            if place.step == 9:
                raise Killed
            return super().step(place, rank, world)

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    killed, whole = Toy(), Toy()
    killed.dropout.p = whole.dropout.p = 0.0
    with pytest.raises(Killed):
        go(tmp_path / "two", killed, Trap(micro_batch=5))
    start(2, "test_loop:rank", {"folder": str(tmp_path / "two")}, threads=2)
    go(tmp_path / "one", whole)
    two = torch.tensor(json.loads((tmp_path / "two" / "weights.json").read_text()))
    torch.testing.assert_close(weights(whole), two, atol=1e-5, rtol=1e-5)
    assert 1 == (checkpoint.latest(tmp_path / "two") or ({}, State()))[1].interruptions


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("fail", r"rank 1 of 2 ended with code 1 and said(.|\n)*planned failure"),
        ("killed", r"rank 1 of 2 was killed, by somebody or because the machine's memory was full"),
    ],
)
def test_a_rank_that_dies_ends_the_others_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, told: str
) -> None:
    """The failing rank is named with what it said, or that it was killed, and nobody is left waiting."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    with pytest.raises(RunError, match=told):
        start(2, "test_loop:rank", {"folder": str(tmp_path), how: 1}, threads=2)


def test_a_rank_that_dies_is_seen_while_the_first_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's collective waits half an hour for a rank that is gone: the others are ended though they hear nothing."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    programs = iter([deaf, "raise SystemExit('planned failure')"])
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **more: popen([sys.executable, "-c", next(programs)], **more))
    with pytest.raises(RunError, match=r"rank 1 of 2 ended with code 1 and said:\nplanned failure$"):
        start(2, "test_loop:rank", {"folder": str(tmp_path)}, threads=2)


def test_a_rank_that_does_not_leave_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop, one that hears nothing does not hold up the others, or who asked, for ever."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(100)"
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def deaf_one(_: object, **more: Any) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, **more))
        assert started[-1].stdout is not None
        with started[-1].stdout as said:
            said.readline()  # it is deaf from now on
        return started[-1]

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", deaf_one)
    monkeypatch.setattr(ranks, "_GOODBYE", 0.5, raising=False)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        start(2, "test_loop:rank", {"folder": str(tmp_path)}, threads=2, meanwhile=stop)
    assert time.monotonic() - begun < 60
    assert [-signal.SIGKILL] * 2 == [process.poll() for process in started]


def test_batches_are_told_the_share_of_the_budget(tmp_path: Path) -> None:
    """What the step before began with, from nothing on; a continued run tells what it would have told."""
    told: list[float] = []

    class Listening(ToyBatches):
        def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
            told.append(place.share)
            if len(told) == 7:
                raise Killed
            return super().step(place, rank, world)

    with pytest.raises(Killed):
        go(tmp_path, Toy(), Listening(), steps=10)
    go(tmp_path, Toy(), Listening(), steps=10)
    expected = [0.0, *(number / 10 for number in range(9))]
    assert pytest.approx(expected[:7] + expected[4:]) == told


def test_a_training_may_stop_before_its_schedule_ends(tmp_path: Path) -> None:
    """Half of twenty steps are the first ten of twenty, at their rates, and end with an evaluation."""
    whole, half = Toy(), Toy()
    seen: list[Tensor] = []
    measured = {"evaluate": lambda: {"loss": 0.0}, "evaluations": 4}
    go(tmp_path / "whole", whole, checkpoint_every=Budget("steps", 10), **measured)
    told: list[dict[str, Any]] = []
    listening = {"until": 0.5, "progress": told.append}
    outcome = go(tmp_path / "half", half, evaluate=lambda: seen.append(weights(half)) or {"loss": 0.0}, **listening)
    assert (10, 2) == (outcome.steps, len(seen))
    steps = [fields for fields in told if "share" in fields]
    assert pytest.approx([number / 10 for number in range(1, 11)]) == [fields["share"] for fields in steps]
    assert {10} == {fields["final_step"] for fields in steps}
    assert 0.0 == steps[-1]["seconds_left"]
    tensors, _ = checkpoint.latest(tmp_path / "half") or ({}, None)
    at_ten = safetensors.torch.load_file(tmp_path / "whole" / "checkpoint-000000010" / "tensors.safetensors")
    assert tensors.keys() == at_ten.keys()
    assert all(torch.equal(tensors[name], at_ten[name]) for name in tensors)


def test_a_hopeless_training_is_given_up(tmp_path: Path) -> None:
    """Asked after each evaluation but the last; what was given up stays so when it is called again."""
    asked: list[int] = []

    def hopeless(state: State) -> bool:
        asked.append(state.step)
        return state.step >= 10

    measured = {"evaluate": lambda: {"loss": 1.0}, "evaluations": 4}
    outcome = go(tmp_path, Toy(), hopeless=hopeless, **measured)
    assert (10, True, [5, 10]) == (outcome.steps, outcome.gave_up, asked)
    again = go(tmp_path, Toy(), hopeless=hopeless, **measured)
    assert (10, True, [5, 10]) == (again.steps, again.gave_up, asked)
    hopeful = go(tmp_path / "b", Toy(), hopeless=lambda state: state.step >= 20, **measured)
    assert (20, False) == (hopeful.steps, hopeful.gave_up)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 130])
@pytest.mark.parametrize("more", [0, 3])
def test_cross_entropy_is_that_of_the_library(dtype: torch.dtype, rows: int, more: int) -> None:
    """The same sum and gradient, also where the sum is a term of a larger loss, a label hopeless, or rows have none."""
    torch.manual_seed(0)
    ours = (5 * torch.randn(rows + more, 50)).to(dtype)
    ours[0, 0] = 300.0  # every other probability of this row is 0 in fp32
    ours.requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    labels = torch.randint(0, 50, (rows,))
    expected = F.cross_entropy(theirs[:rows].float(), labels, reduction="sum")
    found = cross_entropy_sum(ours, labels)
    (3 * found).backward()
    (3 * expected).backward()
    # The loss is read off a probability in the logits' own type: bf16 keeps 8 bits of each.
    torch.testing.assert_close(found, expected, rtol=1e-3 if dtype == torch.bfloat16 else 1e-6, atol=0)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=2e-2 if dtype == torch.bfloat16 else 1e-6, rtol=1e-2)
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy_sum(ours, labels), expected.detach())


def test_logits_of_batches_come_in_few_sizes() -> None:
    """Whatever is masked, a step's largest tensors fit where those of the step before were; the loss is the same."""
    asked: list[int] = []

    class Model(nn.Module):
        def forward(self, ids: torch.Tensor, positions: torch.Tensor, **_: object) -> torch.Tensor:
            asked.append(len(positions))
            return F.one_hot(ids.flatten()[positions], 9).float()

    ids = torch.arange(4096).reshape(32, 128) % 9
    for count in (0, 1, *range(560, 680)):
        chosen = torch.arange(count) + 1
        batch = {"ids": ids, "mask": None, "segments": None, "positions": chosen, "labels": chosen % 9, "count": count}
        found = masked_lm_loss(Model(), batch)
        assert count <= asked[-1] <= max(count + 8, count * 17 // 16)
        assert count == found.count
        torch.testing.assert_close(found.total, torch.tensor(count * (math.log(math.e + 8) - 1)))
    assert len(set(asked)) <= 8


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has to be told")
def test_freed_memory_is_kept_while_training_and_given_back(tmp_path: Path) -> None:
    """Tensors of a step that come and go cost few new pages; behind the block memory is the system's again."""
    script = """
import resource, psutil, torch
from bertwright.training.allocation import memory_kept

def steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        x = torch.ones(12_000_000)  # 48 MB: glibc never keeps so much by itself
        y = (x * 2, x + 1)
        del x
        z = y[0] * y[1]
        del y, z
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

steps()
outside = steps()
with memory_kept():
    steps()
    inside, kept = steps(), psutil.Process().memory_info().rss
print(outside, inside, kept - psutil.Process().memory_info().rss)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    outside, inside, given_back = map(int, done.stdout.split())
    assert inside < outside / 2
    assert given_back > 50_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has to be told")
def test_a_stage_leaves_no_memory_behind(tmp_path: Path) -> None:
    """A model outlives the block in which its steps keep memory; the process has it back when the stage is done."""
    script = f"""
import psutil, torch
from pathlib import Path
from bertwright.pipeline import executors
from bertwright.stages.work import Machine, Work
from bertwright.training.allocation import memory_kept

above = []

def stage(work):
    with memory_kept():
        model = [torch.ones(250_000) for _ in range(200)]
        above.append(torch.ones(1000))  # what is still there keeps the heap from shrinking by itself
    return {{}}

executors.stage_function = lambda kind: stage
before = psutil.Process().memory_info().rss
work = Work("one", "choose", {{}}, {{}}, {{}}, {{}}, Path(), Machine(1), "0" * 32)
job = executors.Job(Path({str(tmp_path)!r}), work, {{}}, "")
executors.execute(job)
print(psutil.Process().memory_info().rss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert int(done.stdout) < 100_000_000


class Overflowing(nn.Module):
    """A network in fp16 whose gradient overflows for as long as the loss is scaled by more than ``limit``."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, dtype=torch.float16))
        self.limit = limit

    def loss(self, _: nn.Module, batch: Mapping[str, Any]) -> LossSum:
        """Squared error; its gradient is infinite where it is too large."""
        error = (batch["x"].half() @ self.weight).float() - batch["labels"]
        total = error.square().sum()
        total.register_hook(lambda g: g * float("inf") if float(g) > self.limit else g)
        return LossSum(total, batch["count"])


def go_in_fp16(folder: Path, model: Overflowing, **changes: Any) -> Outcome:
    """Train a network in fp16 for twenty updates."""
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = Optimizer(model.named_parameters(), name="adamw", settings=Settings(0.02, 0.0))
    given: dict[str, Any] = {
        "schedule": Schedule("linear"),
        "warmup": 0.0,
        "budget": Budget("steps", 20),
        "clip": 1.0,
        "seed": 3,
        "ranks": Ranks(),
        "folder": folder,
        "metrics": folder / "metrics.jsonl",
        "cadence": Cadence(Budget("steps", 1)),
        "loss_scaled": True,
        **changes,
    }
    return train(model, ToyBatches(), model.loss, optimizer, **given)


def test_fp16_halves_the_scale_until_nothing_overflows(tmp_path: Path) -> None:
    """From 4096 to 256 in four skipped steps; the schedule waits for them, and the updates are those of fp32."""
    model = Overflowing(limit=256.0)
    outcome = go_in_fp16(tmp_path / "half", model)
    assert (4, 24) == (outcome.skipped, outcome.steps)
    _, state = checkpoint.latest(tmp_path / "half") or ({}, State())
    assert (256.0, 20, 20) == (state.scale, state.made_in_a_row, state.updates)
    rows = files.read_json_lines(tmp_path / "half" / "metrics.jsonl")
    assert [0.02, 0.019] == pytest.approx([row["learning_rate"] for row in rows[:2]])


def test_the_scale_grows_after_a_thousand_updates() -> None:
    """Twice as much after each thousand without an overflow."""
    state = State(scale=8.0)
    for _ in range(2500):
        loss_scale.made(state)
    assert (32.0, 500) == (state.scale, state.made_in_a_row)
    assert loss_scale.overflowed(state)
    assert (16.0, 0) == (state.scale, state.made_in_a_row)


def test_the_scale_stays_a_number_of_fp16() -> None:
    """Grown for ever, it lost an update in each thousand: above 2^15 the very first gradient is infinite."""
    state = State(scale=loss_scale.FIRST)
    for _ in range(20_000):
        loss_scale.made(state)
    logits = torch.randn(4, 50).half().requires_grad_()
    (cross_entropy_sum(logits, torch.arange(4)) * state.scale).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert 2.0**15 == state.scale


def test_a_scale_stuck_at_one_is_divergence(tmp_path: Path) -> None:
    """Twelve halvings do not help; ten more steps without an update end the run."""
    with pytest.raises(Diverged, match=r"10 steps in a row, .*step 21"):
        go_in_fp16(tmp_path, Overflowing(limit=0.5))


def test_good_steps_between_do_not_save_a_scale_stuck_at_one(tmp_path: Path) -> None:
    """Where every other step overflows, half of the data would go by unused, and nothing would be told."""

    class EveryOther(Overflowing):
        def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
            self.limit = 1.5 - self.limit
            return super().loss(model, batch)

    with pytest.raises(Diverged, match=r"10 steps in a row, or with few good ones between, .*step 31"):
        go_in_fp16(tmp_path, EveryOther(limit=0.5), budget=Budget("steps", 100))


def test_a_scale_of_one_grows_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halved down to 1, it stayed there, where small gradients vanish in fp16, however many updates were made."""
    monkeypatch.setattr(loss_scale, "_UPDATES", 18)
    assert 13 == go_in_fp16(tmp_path, Overflowing(limit=1.0)).skipped  # the last one at a scale of 2
    _, state = checkpoint.latest(tmp_path) or ({}, State())
    assert (1.0, 2) == (state.scale, state.made_in_a_row)


def test_the_next_step_is_made_ahead(tmp_path: Path) -> None:
    """In a thread, once each, in order; a place that nobody foresaw is made when it is asked for."""
    made: list[tuple[int, str]] = []

    class Watched(ToyBatches):
        def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
            made.append((place.step, threading.current_thread().name.partition("_")[0]))
            return super().step(place, rank, world)

    places = [Place(number, 12 * number, number / 5) for number in range(5)]
    with Feed(Watched(), 0, 1, torch.device("cpu"), ahead=True) as feed:
        taken = [feed.take(place, following) for place, following in itertools.pairwise(places)]
        again = feed.take(places[0], places[1])
    expected = [ToyBatches().step(place, 0, 1) for place in places]
    for ours, theirs in zip([*taken, again], [*expected[:4], expected[0]], strict=True):
        torch.testing.assert_close(ours[0]["x"], theirs[0]["x"])
    main = threading.current_thread().name.partition("_")[0]
    assert [(0, main), (1, "feed"), (2, "feed"), (3, "feed")] == made[:4]
    assert (0, main) in made[4:]


def test_milestones_are_passed_once_with_the_masters_of_that_moment(tmp_path: Path) -> None:
    """At a quarter and a half of the budget; a run killed between one and its checkpoint does it again."""
    passed: list[tuple[float, int]] = []

    class Trap(ToyBatches):
        def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
            steps.append(place.step)
            if place.step == 11 and not passed[2:]:
                raise Killed
            return super().step(place, rank, world)

    steps: list[int] = []
    told: dict[str, Any] = {"milestones": (0.25, 0.5), "at_milestone": lambda share: passed.append((share, steps[-1]))}
    with pytest.raises(Killed):
        go(tmp_path, Toy(), Trap(), every=8, **told)
    assert [(0.25, 4), (0.5, 9)] == passed
    go(tmp_path, Toy(), Trap(), every=8, **told)
    assert [(0.5, 9)] == passed[2:]


def test_what_a_training_begins_with_is_not_rounded_to_bf16() -> None:
    """Masters are the fp32 weights as they came, and the weights their roundings."""
    model = Toy()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    settings = Settings(learning_rate=0.1, weight_decay=0.0)
    optimizer = Optimizer(model.named_parameters(), name="adamw", settings=settings, dtype=torch.bfloat16)
    for name, master in zip(optimizer.names, optimizer.masters, strict=True):
        assert torch.equal(before[name], master)
    assert all(torch.equal(before[name].bfloat16(), weight) for name, weight in model.named_parameters())


def test_what_a_training_leaves_is_not_rounded_to_bf16(tmp_path: Path) -> None:
    """The weights at the end are the fp32 masters of the checkpoint, to the bit."""
    model = Toy(torch.bfloat16)
    go(tmp_path, model)
    tensors, _ = checkpoint.latest(tmp_path) or ({}, State())
    assert {torch.float32} == {weight.dtype for weight in model.parameters()}
    for name, weight in model.named_parameters():
        assert torch.equal(tensors[f"weight/{name}"], weight)

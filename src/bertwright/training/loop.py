"""The one training loop. Methods enter as arguments: which parameters, which loss, which data."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bertwright import files
from bertwright.errors import Diverged, Interrupted
from bertwright.training import checkpoint, loss_scale
from bertwright.training.allocation import memory_kept
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence, used
from bertwright.training.checkpoint import State
from bertwright.training.feed import Batches, Feed, MicroBatches, on_device
from bertwright.training.losses import Loss
from bertwright.training.optimizers import Optimizer
from bertwright.training.order import Place
from bertwright.training.ranks import Ranks
from bertwright.training.schedules import Schedule, multiplier

_LINES = 500  # most lines about the training loss in metrics.jsonl
_PATIENCE = 10  # steps in a row that may have a loss that is not finite


@dataclass(frozen=True)
class Outcome:
    """What a training did: counts, seconds of work, and the first and last of what ``evaluate`` gave."""

    steps: int
    tokens: int
    seconds: float
    skipped: int
    interruptions: int
    train_loss: float | None
    first: Mapping[str, float]
    final: Mapping[str, float]
    gave_up: bool = False


def train(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    optimizer: Optimizer,
    *,
    schedule: Schedule,
    warmup: float,
    budget: Budget,
    clip: float | None,
    seed: int,
    ranks: Ranks,
    folder: Path,
    metrics: Path,
    cadence: Cadence,
    loss_scaled: bool = False,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Train until the budget is used up, from the newest checkpoint in ``folder`` if there is one.

    ``cadence`` says what is done beside the steps, and when. Raises ``Interrupted`` after SIGTERM or Ctrl-C, with
    everything saved, and ``Diverged`` where the loss stays non-finite, or an evaluation is; an update with such a loss
    or gradient is never made, and moves no schedule but that of a clock. ``loss_scaled`` is for passes in fp16 (see
    ``loss_scale``).
    """
    total = budget.total(batches.steps_per_epoch)
    end, device = cadence.end(total), optimizer.weights[0].device
    state = _resume(optimizer, folder, ranks, loss_scaled)
    diary = _Diary(metrics, total, end, ranks.rank == 0, progress)
    diary.cut(state.step)
    measure = partial(_measure, model, diary, state, folder)
    cadence.before_steps(state, measure)
    feed = Feed(batches, ranks.rank, ranks.world, device, ahead=device.type == "cuda")
    with _Stopping() as stopping, memory_kept(), feed:
        while (done := used(budget, state)) < end and not state.gave_up:
            begun, before = time.monotonic(), cadence.portions(state)
            rate, place = multiplier(schedule, done, total, warmup), state.place
            following = Place(place.step + 1, place.row + batches.rows(place), done / total)
            micro_batches = feed.take(place, following)
            update = _update(model, micro_batches, loss, optimizer, state, rate, clip, seed, ranks)
            _judge(state, update, folder, loss_scaled)
            state.step, state.row, state.share = following.step, following.row, following.share
            seconds, stop = ranks.first(time.monotonic() - begun, stopping.asked)
            state.seconds += seconds
            after = used(budget, state)
            diary.step(state, done, after, update, optimizer.learning_rate * rate)
            cadence.after_step(state, total, done, after, ranks, measure)
            # Behind skipped steps the newest checkpoint is a good one; another would take the place of one of the two.
            due = cadence.portions(state) > before and not state.skipped_in_a_row
            if stop or after >= end or state.gave_up or due:
                diary.keep()  # before the checkpoint, behind which nothing is done again
                _save(optimizer, state, folder, ranks, stop=bool(stop))
            if stop:
                raise Interrupted(f"stopped after step {state.step}; all is saved and the same command continues")
    optimizer.give_back()
    return _outcome(state)


def _outcome(state: State) -> Outcome:
    return Outcome(
        state.step,
        state.tokens,
        state.seconds,
        state.skipped,
        state.interruptions,
        state.mean_loss,
        state.first,
        state.final,
        state.gave_up,
    )


@dataclass(frozen=True)
class _Update:
    """A step over all ranks: mean loss, gradient norm before clipping, tokens, and whether the weights moved."""

    loss: float
    norm: float
    tokens: int

    @property
    def made(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def _update(
    model: nn.Module,
    micro_batches: MicroBatches,
    loss: Loss,
    optimizer: Optimizer,
    state: State,
    rate: float,
    clip: float | None,
    seed: int,
    ranks: Ranks,
) -> _Update:
    model.train()
    device = optimizer.weights[0].device
    value, counted = torch.zeros((), device=device), 0
    for number, batch in enumerate(micro_batches):
        # Dropout is drawn by place, not by history: a continued run draws what an uninterrupted one would.
        torch.manual_seed((seed * 1_000_003 + state.step) * 10_007 + number * ranks.world + ranks.rank)
        part = loss(model, on_device(batch, device))
        (part.total * state.scale if state.scale != 1.0 else part.total).backward()  # type: ignore[no-untyped-call]
        optimizer.accumulate()
        value += part.total.detach().float()
        counted += part.count
    count, tokens, summed = ranks.total(counted, sum(batch["tokens"] for batch in micro_batches), float(value))
    if not optimizer.divided:
        ranks.sum_gradients(optimizer.gradients())
    share = 1 / (max(count, 1) * state.scale)
    norm = float(optimizer.norm()) * share
    update = _Update(summed / max(count, 1), norm, int(tokens))
    if update.made:
        optimizer.step(scale=share * (1.0 if clip is None or norm <= clip else clip / norm), multiplier=rate)
    else:
        optimizer.clear()
    return update


def _judge(state: State, update: _Update, folder: Path, loss_scaled: bool) -> None:
    """Count a step that made no update; give up after some in a row, unless a smaller scale of the loss may help."""
    if update.made:
        state.tokens += update.tokens
        if loss_scaled:
            loss_scale.made(state)
        # At a scale of 1 one good step among bad ones mends nothing.
        if not loss_scaled or state.scale > 1.0 or state.made_in_a_row >= _PATIENCE:
            state.skipped_in_a_row = 0
        return
    state.skipped += 1
    if loss_scale.overflowed(state):
        return
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row >= _PATIENCE:
        nearly = ", or with few good ones between," if loss_scaled else ""
        raise Diverged(
            f"the loss or its gradient was not a finite number in {_PATIENCE} steps in a row{nearly} (loss "
            f"{update.loss}, norm {update.norm}, step {state.step}). No such update was made; "
            f"{_last_checkpoint(folder)}. Lower `learning_rate`, or set `clip: 1.0`, and run again."
        )


def _last_checkpoint(folder: Path) -> str:
    names = (path.name for path in folder.glob("checkpoint-*") if not path.name.endswith(files.TEMPORARY))
    newest = max(names, default=None)
    return "no checkpoint was written yet" if newest is None else f"the last good checkpoint is {newest}"


def _measure(
    model: nn.Module, diary: _Diary, state: State, folder: Path, evaluate: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Evaluate; ``Diverged`` where that gives no finite number, for then no update can be trusted any more."""
    model.eval()
    with torch.no_grad():
        losses = evaluate()
    diary.measured(state, losses)
    wrong = ", ".join(f"{name} {value}" for name, value in losses.items() if not math.isfinite(value))
    if wrong and state.step == 0:
        raise Diverged(
            f"an evaluation gave no finite number before the first step ({wrong}). The weights to begin with are "
            "damaged or too large for this number format: take another folder, or set `system.precision: fp32`."
        )
    if wrong:
        raise Diverged(
            f"an evaluation gave no finite number ({wrong}) after step {state.step}; {_last_checkpoint(folder)}. "
            "Lower `learning_rate`, or set `clip: 1.0`, and run again."
        )
    return losses


def _resume(optimizer: Optimizer, folder: Path, ranks: Ranks, loss_scaled: bool) -> State:
    newest = checkpoint.latest(folder)
    # All have read before the first rank may write the next one.
    ranks.barrier()
    if newest is None:
        return State(scale=loss_scale.FIRST if loss_scaled else 1.0)
    tensors, state = newest
    if not loss_scaled:
        state.scale = 1.0
    optimizer.load_state(tensors)
    state.interruptions += 1
    return state


def _save(optimizer: Optimizer, state: State, folder: Path, ranks: Ranks, *, stop: bool) -> None:
    tensors = optimizer.state()
    if ranks.rank == 0:
        checkpoint.save(folder, tensors, state)
    if stop:
        ranks.barrier()


class _Diary:
    """Writes metrics.jsonl and tells the progress; a continued run takes back what it will do again."""

    def __init__(
        self, path: Path, total: int, end: int, writes: bool, progress: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self.path = path
        self.total = total
        self.end = end
        self.writes = writes
        self.progress = progress

    def cut(self, step: int) -> None:
        """Remove what a killed run wrote after its last checkpoint."""
        if self.writes and self.path.exists():
            rows = [row for row in files.read_json_lines(self.path) if row["step"] <= step and step > 0]
            files.write_text(self.path, "".join(f"{files.json_line(row)}\n" for row in rows))

    def keep(self) -> None:
        """Bring the lines to the disk."""
        if self.writes and self.path.exists():
            files.sync(self.path)

    def step(self, state: State, before: int, after: int, update: _Update, rate: float) -> None:
        """Note a step; a line is written where the share of the budget moved on."""
        if math.isfinite(update.loss):
            state.loss_sum, state.loss_steps = state.loss_sum + update.loss, state.loss_steps + 1
        if min(after, self.total) * _LINES // self.total <= before * _LINES // self.total:
            return
        if state.loss_steps:
            state.mean_loss = state.loss_sum / state.loss_steps
        state.loss_sum, state.loss_steps = 0.0, 0
        if not self.writes:
            return
        row = {**_place(state), "loss": state.mean_loss, "learning_rate": rate, "norm": _finite(update.norm)}
        files.append_json(self.path, row)
        if self.progress is not None:
            # Of the way to where the training stops, which may be before its schedule ends.
            share = min(1.0, after / self.end)
            left = state.seconds * (1 - share) / share if share else None
            speed = state.tokens / state.seconds if state.seconds else None
            in_the_end = round(state.step / share) if share else None
            figures = {"share": share, "seconds_left": left, "tokens_per_second": speed, "final_step": in_the_end}
            self.progress({**row, **figures})

    def measured(self, state: State, losses: Mapping[str, float]) -> None:
        """Note what an evaluation gave; what is not finite is ``null``, as JSON has no word for it."""
        if self.writes:
            row = {**_place(state), **{name: _finite(value) for name, value in losses.items()}}
            files.append_json(self.path, row)
            if self.progress is not None:
                self.progress(row)


def _place(state: State) -> dict[str, float]:
    return {"step": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 3)}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


class _Stopping:
    """Turns SIGTERM and Ctrl-C into a flag that is read between two steps; signals are restored at the end."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True

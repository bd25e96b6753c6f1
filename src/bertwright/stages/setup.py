"""How this machine trains fastest: a few timed passes, before pretraining, over what the recipe leaves open.

What is found is written beside the checkpoints, so that a continued training goes on as it began. Another choice than
the usual one has to be faster by a clear margin: the noise of a few passes decides nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from bertwright import files
from bertwright.encoder.config import EncoderConfig, flops_per_token
from bertwright.encoder.models import MaskedLM, build_masked_lm
from bertwright.encoder.stack import set_dropout
from bertwright.errors import InputError
from bertwright.recipe.sections import Pretrain
from bertwright.stages.training_choices import batch_of, micro_batch_rows, optimizer_of
from bertwright.stages.work import Work
from bertwright.training.allocation import memory_kept
from bertwright.training.feed import on_device
from bertwright.training.losses import masked_lm_loss
from bertwright.training.optimizers import Optimizer
from bertwright.training.precision import DTYPES, choose, matmul_peak

_SECONDS = 5.0  # for all passes together, compiling left out
_PASS = 5e10  # operations of a pass: a quarter of a second of two CPU cores
_PASSES = 3
_MARGIN = 1.15
_LAYERS = 2  # of the model that is timed: what is fastest hardly hangs on the depth
_KEPT = "setup.json"
_WORTH = 1.03  # how much faster a GPU has to be with twice the rows at once


@dataclass(frozen=True)
class Setup:
    """What a training works with. ``tried`` holds what was timed: the choice and its operations a second."""

    device: str
    precision: str
    attention: str
    threads: int
    compiled: bool
    micro_batch: int
    batch: int
    peak: float
    """Operations a second of this machine's matrix products in this precision."""
    tokens_per_second: float
    """What the probe promises; without one, what half of the peak would do."""
    tried: tuple[dict[str, Any], ...] = ()

    def sentence(self) -> str:
        """Say what was chosen, and between what."""
        chosen = (
            f"{self.precision}, {self.threads} {'thread' if self.threads == 1 else 'threads'}, attention by "
            f"{self.attention}{', compiled' if self.compiled else ''}; {self.batch} rows an update, "
            f"{self.micro_batch} at once; about {self.tokens_per_second:,.0f} tokens/s"
        )
        others = ", ".join(f"{one['name']} {one['flops'] / 1e9:,.0f}" for one in self.tried)
        return f"works with {chosen}" + (f" (GFLOP/s in the probe: {others})" if others else "")

    def eager(self) -> contextlib.AbstractContextManager[Any]:
        """Leave what was compiled aside while a block runs: for passes of other shapes, or without gradients."""
        compiled = self.compiled or self.attention == "flex"
        return torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()


@dataclass(frozen=True)
class _Candidate:
    name: str
    precision: str
    attention: str
    threads: int
    compiled: bool = False


def find_setup(work: Work, choice: Pretrain, config: EncoderConfig, *, row_length: int, rows: int) -> Setup:
    """Return what to train with: as it was found before an interruption, or found now.

    ``rows`` counts the rows to train on. ``InputError`` where `system.compile` finds no compiler.
    """
    asked = {"machine": asdict(work.machine), "micro_batch": choice.micro_batch}
    path, before = work.scratch / _KEPT, None
    if path.exists():
        before = kept_setup(work)
        if files.read_json(path)["asked"] == asked:
            return before
    found = _find(work, choice, config, row_length, rows)
    if before is not None:
        # The user asked for something else meanwhile. What decides the result stays as it began.
        format_ = before.precision if work.machine.precision == "auto" else found.precision
        found = replace(found, batch=before.batch, precision=format_)
        found = replace(found, micro_batch=min(found.micro_batch, found.batch))
    files.write_json(path, {"asked": asked, "found": asdict(found)})
    work.tell({"said": found.sentence()})
    return found


def kept_setup(work: Work) -> Setup:
    """Return the setup that a training was begun with."""
    found = files.read_json(work.scratch / _KEPT)["found"]
    return Setup(**{**found, "tried": tuple(found["tried"])})


def _find(work: Work, choice: Pretrain, config: EncoderConfig, row_length: int, rows: int) -> Setup:
    machine = work.machine
    place = choose(machine.device, machine.precision)
    device = place.device.type
    usual = _Candidate(
        "usual",
        place.name,
        machine.attention if machine.attention != "auto" else ("matmul" if device == "cpu" else "sdpa"),
        max(1, machine.threads // machine.devices),
    )
    if machine.compile:
        _need_compiler(device)
    if usual.attention == "flex" and device == "cpu":
        raise InputError(
            "system.attention is flex, whose kernels are for GPUs, and training works on the CPU here; leave it at auto"
        )
    torch.set_num_threads(usual.threads)
    tried = _tried(work, usual, config, choice, row_length, device) if machine.probe else {}
    best = max(tried, key=lambda one: tried[one] / (1.0 if one == usual else _MARGIN), default=usual)
    if machine.compile and not machine.probe:
        best = replace(best, compiled=True)
    torch.set_num_threads(best.threads)
    peak = matmul_peak(DTYPES[best.precision], device)
    cost = flops_per_token(config, row_length, choice.mask_rate)
    speed = tried.get(best, 0.5 * peak) / cost * machine.devices
    batch = batch_of(choice, row_length=row_length, rows=rows, tokens_per_second=speed)
    micro_batch = micro_batch_rows(choice, row_length, -(-batch // machine.devices))
    if device == "cuda" and choice.micro_batch is None and machine.probe and not machine.sharding:
        again = machine.activation_checkpointing
        micro_batch = _largest_micro_batch(config, choice, best, row_length, -(-batch // machine.devices), again=again)
    return Setup(
        device=device,
        precision=best.precision,
        attention=best.attention,
        threads=best.threads,
        compiled=best.compiled,
        micro_batch=micro_batch,
        batch=batch,
        peak=peak,
        tokens_per_second=speed,
        tried=tuple({"name": one.name, "flops": rate} for one, rate in tried.items()),
    )


def _candidates(
    work: Work, usual: _Candidate, config: EncoderConfig, choice: Pretrain, device: str
) -> Iterator[_Candidate]:
    machine = work.machine
    yield usual
    if machine.attention == "auto":
        others = ["sdpa" if usual.attention == "matmul" else "matmul"]
        # What may not be seen is worth skipping where there is some: other documents, or tokens outside a window.
        if device == "cuda" and (choice.document_mask or config.family == "modern"):
            others.insert(0, "flex")
        for other in others:
            yield replace(usual, name=other, attention=other)
    if device == "cpu" and not machine.fixed_threads and usual.threads > 1:
        yield replace(usual, name=f"{usual.threads // 2} of the threads", threads=usual.threads // 2)
    if device == "cpu" and machine.precision == "auto" and usual.precision != "fp32":
        yield replace(usual, name="fp32", precision="fp32")
    if machine.compile:
        yield replace(usual, name="compiled", compiled=True)


def _tried(
    work: Work, usual: _Candidate, config: EncoderConfig, choice: Pretrain, length: int, device: str
) -> dict[_Candidate, float]:
    """Time candidates until the time is over, the usual one first: operations a second of each.

    One that does not fit a GPU's memory is none.
    """
    mask_rate = choice.mask_rate
    small = replace(config, layers=min(config.layers, _LAYERS))
    cost = flops_per_token(small, length, mask_rate)
    room = _PASS if device == "cpu" else 100 * _PASS
    rows = max(1, min(64, int(room / (cost * length))))
    found: dict[_Candidate, float] = {}
    begun = time.monotonic()
    for candidate in _candidates(work, usual, config, choice, device):
        if time.monotonic() - begun > _SECONDS and not candidate.compiled:
            continue
        batch = drawn_batch(small, rows, length, mask_rate, apart=choice.document_mask)
        with contextlib.suppress(torch.OutOfMemoryError):
            found[candidate] = cost * rows * length / _seconds(small, candidate, batch, device)
    if device == "cuda":
        torch.cuda.empty_cache()
    return found


def _seconds(config: EncoderConfig, candidate: _Candidate, batch: dict[str, Any], device: str) -> float:
    """Return the seconds of the fastest of a few passes, forward and backward."""
    torch.set_num_threads(candidate.threads)
    model = arranged(build_masked_lm(config, seed=0), candidate).to(device, DTYPES[candidate.precision])
    best = float("inf")
    with memory_kept():
        for number in range(_PASSES + 1):
            begun = time.perf_counter()
            _one_pass(model, batch, device)
            model.zero_grad()
            # The first pass warms up, or compiles.
            best = min(best, time.perf_counter() - begun) if number else best
    return best


def _one_pass(model: MaskedLM, batch: dict[str, Any], device: str) -> None:
    masked_lm_loss(model, on_device(batch, torch.device(device))).total.backward()  # type: ignore[no-untyped-call]
    if device == "cuda":
        torch.cuda.synchronize()


def arranged(model: MaskedLM, setup: Setup | _Candidate) -> MaskedLM:
    """Let a model work as it is trained: without dropout, with the chosen attention, compiled or not."""
    set_dropout(model, 0.0)
    model.encoder.attention_form(setup.attention)
    if setup.compiled:
        model.encoder.compile_blocks()
    return model


def drawn_batch(
    config: EncoderConfig, rows: int, length: int, mask_rate: float, *, apart: bool = False
) -> dict[str, Any]:
    """Return a micro-batch of drawn tokens, (rows, length), as masked rows are; ``apart``: two documents a row."""
    generator = np.random.default_rng(0)
    count = max(1, int(rows * length * mask_rate))
    return {
        "ids": torch.from_numpy(generator.integers(0, config.vocabulary, (rows, length))),
        "mask": _two_documents(rows, length) if apart else None,
        "segments": None,
        "positions": torch.from_numpy(np.sort(generator.choice(rows * length, count, replace=False))),
        "labels": torch.from_numpy(generator.integers(0, config.vocabulary, count)),
        "count": count,
    }


def _two_documents(rows: int, length: int) -> torch.Tensor:
    return (torch.arange(length) >= length // 2).int().expand(rows, -1)


def _largest_micro_batch(
    config: EncoderConfig, choice: Pretrain, setup: _Candidate, length: int, most: int, *, again: bool
) -> int:
    """Double the rows at once for as long as they fit beside the optimizer's memory and a GPU is faster for it.

    ``again``: activations are computed again on the way back. ``InputError`` where not even one row fits.
    """
    model = arranged(build_masked_lm(config, seed=0), setup).to("cuda")
    model.encoder.activation_checkpointing = again
    optimizer = optimizer_of(model, choice, DTYPES[setup.precision])
    rate = max(choice.mask_rate, choice.mask_rate_end or 0.0)
    best, speed, rows = 0, 0.0, min(8, most)
    while rows > best:
        batch = drawn_batch(config, rows, length, rate, apart=choice.document_mask)
        try:
            seconds = _with_update(model, optimizer, batch)
        except torch.OutOfMemoryError:
            if best or rows == 1:
                break
            rows //= 2
            continue
        if rows / seconds < speed * _WORTH:
            break
        best, speed, rows = rows, rows / seconds, min(2 * rows, most)
    del model, optimizer
    torch.cuda.empty_cache()
    if not best:
        raise InputError(
            f"not even one row of {length} tokens fits this GPU beside the optimizer; take a smaller encoder or "
            "shorter rows, or divide the model over several GPUs with `system.sharding=true`"
        )
    return best


def _with_update(model: MaskedLM, optimizer: Optimizer, batch: dict[str, Any]) -> float:
    """Return the seconds of a pass, the optimizer's moments being there."""
    for number in range(3):
        begun = time.perf_counter()
        _one_pass(model, batch, "cuda")
        optimizer.accumulate()
        if number == 0:
            optimizer.gradients()
            optimizer.step(scale=1.0, multiplier=0.0)
    return time.perf_counter() - begun


def _need_compiler(device: str) -> None:
    if device == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise InputError(
            "system.compile is on, and there is no C++ compiler on the PATH (looked for c++, g++, clang++); "
            "install one, such as Debian's g++, or set `system.compile=false`"
        )

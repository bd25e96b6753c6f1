"""The real steps that a forecast rests on: one that was taken within the hour is taken from the store.

So ``run`` behind ``check`` begins its work at once. ``steps.json`` in the store holds seconds and memory of each step
under a digest of all that they hang on; a file that is missing or damaged only means that steps are taken again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bertwright import files
from bertwright.encoder.config import EncoderConfig
from bertwright.errors import InputError, StoreError
from bertwright.out_of_memory import memory_told
from bertwright.pipeline.machine import MemoryMeter, machine, machine_facts, versions
from bertwright.recipe.sections import Pretrain, Recipe
from bertwright.stages import measure
from bertwright.stages.kinds import KINDS
from bertwright.training.precision import choose

# Seconds for which a step stands: what else a machine does changes, and with it what a step takes.
_FRESH = 3600.0
_FIGURES = ("at", "micro_batch", "update", "parameters", "memory_bytes")


def take_step(
    recipe: Recipe,
    kind: str,
    config: EncoderConfig,
    learns: Mapping[str, Any],
    choice: Pretrain | None,
    *,
    rows: int,
    length: int,
    longest: int,
) -> tuple[measure.StepCost, int]:
    """Return what a step of (rows, length) takes, and the most bytes of memory that this process held meanwhile.

    ``kind`` is "pretrain", with the ``choice`` of it, or "finetune", with what it ``learns`` and its ``longest`` row.
    ``InputError`` says what fits where the GPU's memory does not hold the rows.
    """
    place = machine(recipe, kind)
    where: dict[str, Any] = {
        "device": place.device,
        "precision": place.precision,
        "threads": max(1, place.threads // (place.devices if choice is not None else 1)),
        **({"again": place.activation_checkpointing} if choice is not None else {"longest": longest}),
    }
    own = learns if choice is None else choice.model_dump(mode="json")
    key = _digest(
        {"kind": kind, "shape": asdict(config), "choice": own, "rows": rows, "length": length, **where, **_here(place)}
    )
    path = recipe.store / "steps.json"
    if (found := _found(path, key)) is not None:
        return found
    with MemoryMeter(every=0.02) as meter, memory_told(kind, KINDS[kind].lower):
        try:
            if choice is not None:
                cost = measure.measure_pretraining(config, choice, rows=rows, length=length, **where)
            else:
                cost = measure.measure_finetuning(config, learns, rows=rows, length=length, **where)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{kind}: {rows} rows of {length} tokens at once do not fit the GPU's memory ({error}). "
                f"`{kind}.micro_batch={max(1, rows // 2)}` may fit, and the batch stays the same"
            ) from error
    _keep(path, key, cost, meter.peak)
    return cost, meter.peak


def _here(place: Any) -> dict[str, Any]:
    """Return what a step's cost hangs on that no recipe says: the machine, its device and format, and the versions."""
    chosen = choose(place.device, place.precision)
    gpu = torch.cuda.get_device_name() if chosen.device.type == "cuda" else None
    return {
        "host": socket.gethostname(),
        "machine": machine_facts(),
        "gpu": gpu,
        "format": chosen.name,
        "versions": versions(),
    }


def _digest(of: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _fresh(path: Path) -> dict[str, dict[str, Any]]:
    """Return the steps of the last hour by their digests; none where the file is not there or cannot be read."""
    try:
        return {key: one for key, one in files.read_json(path).items() if _stands(one)}
    except (OSError, ValueError, AttributeError):
        return {}


def _stands(one: Any) -> bool:
    """Whether an entry holds what a step took, and is of the last hour."""
    figures = [one.get(name) for name in _FIGURES] if isinstance(one, dict) else [None]
    if any(not isinstance(figure, int | float) or not 0 < figure < math.inf for figure in figures):
        return False
    return bool(0 <= time.time() - one["at"] < _FRESH)


def _found(path: Path, key: str) -> tuple[measure.StepCost, int] | None:
    if (one := _fresh(path).get(key)) is None:
        return None
    return measure.StepCost(one["micro_batch"], one["update"], int(one["parameters"])), int(one["memory_bytes"])


def _keep(path: Path, key: str, cost: measure.StepCost, memory: int) -> None:
    """Add a step to the file. Of two runs that do so at once the last stands, and the other's step is taken again."""
    step = {"at": time.time(), **asdict(cost), "memory_bytes": memory}
    # A store that this user may only read can be checked against; its steps are taken each time.
    with contextlib.suppress(StoreError):
        files.write_json(path, {**_fresh(path), key: step})

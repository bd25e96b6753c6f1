"""What a stage will take, and what cannot fit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bertwright.errors import InputError
from bertwright.pipeline.machine import own_memory
from bertwright.recipe.sections import Recipe
from bertwright.reports.words import bytes_text
from bertwright.stages.kinds import SIDE_BY_SIDE


@dataclass(frozen=True)
class Pace:
    """How a pretraining will go: updates in all, rows of each, tokens a second, share of the matrix peak."""

    updates: int
    batch: int
    tokens_per_second: float
    utilisation: float


@dataclass(frozen=True)
class RowsAtOnce:
    """Rows that go through a model together, what each of them takes, and what is there without them."""

    count: int
    row_bytes: float
    fixed_bytes: int


@dataclass(frozen=True)
class Prediction:
    """What one stage will take; ``scratch_bytes`` are on the disk only while it works."""

    seconds: float
    memory_bytes: int
    disk_bytes: int
    scratch_bytes: int = 0
    pace: Pace | None = None
    at_once: RowsAtOnce | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def duration(predictions: Mapping[str, Prediction], recipe: Recipe) -> float:
    """Return the seconds from start to end: the sum of the stages, where runs go side by side their share."""
    return sum(one.seconds / at_once(name, recipe) for name, one in predictions.items())


def at_once(name: str, recipe: Recipe) -> int:
    """Return how many stages such as this one work at the same time."""
    return recipe.system.runs if name.partition("/")[0] in SIDE_BY_SIDE else 1


def refuse(predictions: Mapping[str, Prediction], recipe: Recipe, store: Path) -> None:
    """Raise ``InputError`` where a stage needs more memory, or all stages more disk, than there is."""
    for name, one in predictions.items():
        refuse_memory(name, one.memory_bytes * at_once(name, recipe), recipe.system.memory, one.at_once)
    needed = sum(p.disk_bytes for p in predictions.values())
    needed += max((p.scratch_bytes for p in predictions.values()), default=0) * recipe.system.runs
    place = store
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"the run needs about {bytes_text(needed)} of disk and {place} has {bytes_text(free)} left. "
            "Name another place with `store=FOLDER`, take fewer seeds or a smaller encoder, or free some space."
        )


def refuse_memory(name: str, needed: int, limit: int | None, rows: RowsAtOnce | None = None) -> None:
    """Raise ``InputError`` where a stage needs more memory than there is, or than it may take."""
    there = memory_there(limit)
    if needed > there:
        raise InputError(
            f"{name} needs about {bytes_text(needed)} of memory and {'system.memory allows' if limit else 'there are'} "
            f"{bytes_text(there)}. {_lighter(name, there, rows)} would fit, or a larger machine."
        )


def memory_there(limit: int | None) -> int:
    """Return the bytes of memory that a stage may take: the limit, or what is free and what this process has."""
    return limit or psutil.virtual_memory().available + own_memory(psutil.Process())


def _lighter(name: str, there: int, rows: RowsAtOnce | None) -> str:
    kind = name.partition("/")[0]
    if kind in ("tokenizer", "prepare", "overlap"):
        return "Fewer system.threads" if kind != "tokenizer" else "A tokenizer from a folder"
    fitting = int((there - rows.fixed_bytes) / max(rows.row_bytes, 1)) if rows else 0
    if 0 < fitting < (rows.count if rows else 0):
        return f"`{kind}.micro_batch={fitting}` (the batch stays the same)"
    return "A smaller encoder.size"

"""How far a run is, read from its folder by any other process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bertwright import files
from bertwright.pipeline.results import run_folder
from bertwright.recipe.sections import Recipe
from bertwright.screen import figures_line
from bertwright.store import Store, pointers


@dataclass(frozen=True)
class StageStatus:
    """One stage: ``done``, ``partial`` or ``due``, and the newest figures of its training."""

    name: str
    state: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Status:
    """All stages of the run as it was last started."""

    stages: tuple[StageStatus, ...]

    def lines(self) -> list[str]:
        """Return a line a stage."""
        if not self.stages:
            return ["this recipe has not been run yet; `bertwright run` starts it"]
        width = max(len(stage.name) for stage in self.stages)
        return [f"{s.state:8}{s.name:{width + 2}}{figures_line(s.figures)}".rstrip() for s in self.stages]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"stages": [{"name": s.name, "state": s.state, **s.figures} for s in self.stages]}


def status(recipe: Recipe) -> Status:
    """Return how far a recipe's run is."""
    store = Store(recipe.store)
    stages = []
    for name, entry in pointers(run_folder(recipe)).items():
        kind, identity = entry["kind"], entry["identity"]
        if store.sealed(kind, identity):
            stages.append(StageStatus(name, "done", {}))
        elif store.partial(kind, identity):
            rows = files.read_json_lines(store.partial_folder(kind, identity) / "metrics.jsonl")
            stages.append(StageStatus(name, "partial", rows[-1] if rows else {}))
        else:
            stages.append(StageStatus(name, "due", {}))
    return Status(tuple(stages))

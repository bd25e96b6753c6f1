"""What a run left: its folder, its sealed stages, and all that its report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.pipeline.preflight import left_out, sources_of
from bertwright.recipe.reading import to_yaml
from bertwright.recipe.sections import Recipe
from bertwright.reports.page import write_report
from bertwright.reports.records import RunRecords
from bertwright.reports.redaction import without_examples
from bertwright.store import Sealed, now

WAYS = "ways.json"
"""In a run's folder: what was measured of each way of a task after the run."""


@dataclass(frozen=True)
class Result:
    """What a run left: its folder, the sealed stages by name, the report page (``None`` if switched off), and all that
    the page was made from."""

    folder: Path
    stages: Mapping[str, Sealed]
    report: Path | None
    records: RunRecords


def run_folder(recipe: Recipe) -> Path:
    """Return the folder with a run's human names."""
    return recipe.store / "runs" / recipe.name


def records_of(
    recipe: Recipe,
    done: Mapping[str, Sealed],
    predicted: Mapping[str, Any],
    command: str,
    reused: tuple[str, ...] | None = None,
) -> RunRecords:
    """Return all that the report reads."""
    metrics = {
        name: files.read_json_lines(sealed.folder / "metrics.jsonl")
        for name, sealed in done.items()
        if (sealed.folder / "metrics.jsonl").exists()
    }
    return RunRecords(
        name=recipe.name,
        recipe_yaml=to_yaml(recipe),
        # What was sealed under another name, by another recipe, has the name that this one gives it.
        stages=tuple({**sealed.record, "name": name} for name, sealed in done.items()),
        metrics=metrics,
        forecast=dict(predicted),
        command=command,
        created=now(),
        reused=reused,
        notes=tuple(left_out(sources_of(recipe.prepare))),
        ways=_ways(run_folder(recipe) / WAYS, done),
    )


def _ways(path: Path, done: Mapping[str, Sealed]) -> dict[str, Any] | None:
    """Return what was measured of each way of a task, if it was of the runs that are scored now."""
    found: dict[str, Any] | None = files.read_json(path) if path.is_file() else None
    scored = done.get(f"evaluate/{found['task']}") if found else None
    return found if found and scored and found["of"] == scored.record["identity"] else None


def write_page(records: RunRecords, folder: Path, recipe: Recipe) -> Path:
    """Write the page of what a run left, without examples of the user's text where the recipe asks for that."""
    return write_report(without_examples(records) if recipe.report == "no-examples" else records, folder)

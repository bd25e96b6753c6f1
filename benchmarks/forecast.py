"""Compare what was forecast before work started with what it took; the last line is one JSON object.

    python benchmarks/forecast.py [--only NAME ...] [--save FILE]

Shipped recipes in reduced forms (fewer tasks, rows, seeds, a shorter pretraining), each run from nothing in a process
of its own. Errors are relative to the forecast's fact: of a recipe's whole time, of its largest memory, of all it seals
on the disk. What is printed last is the largest of the recipes' errors; the lines before show every kind of stage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bertwright
from bertwright import files
from bertwright.demo.write import write_demo
from bertwright.recipe.sections import Recipe

RECIPES = Path(__file__).parents[1] / "recipes"


def _of_tasks(recipe: Recipe, names: tuple[str, ...], **finetune: Any) -> Recipe:
    tasks = [one.model_copy(update={"train_rows": 600}) for one in recipe.tasks if one.name in names]
    own = {"seeds": 1, "epochs": 1.0, "protocol": None, **finetune}
    return recipe.model_copy(update={"tasks": tuple(tasks), "finetune": recipe.finetune.model_copy(update=own)})


def _demo(folder: Path) -> Recipe:
    write_demo(folder / "demo", seed=0)
    return bertwright.load_recipe(folder / "demo" / "recipe.yaml", ["pretrain.budget=300 steps", "finetune.seeds=1"])


def _tasks(_: Path) -> Recipe:
    return _of_tasks(bertwright.load_recipe(RECIPES / "trial-tasks.yaml"), ("trec", "mrpc"))


def _bitfit(_: Path) -> Recipe:
    recipe = bertwright.load_recipe(RECIPES / "trial-bitfit.yaml")
    methods = tuple(one.model_copy(update={"epochs": None, "grid": None}) for one in recipe.finetune.trainable)
    return _of_tasks(recipe, ("trec", "rte"), trainable=methods)


def _wikipedia(_: Path) -> Recipe:
    recipe = bertwright.load_recipe(RECIPES / "wikipedia-mini.yaml", ["pretrain.budget=200 steps"])
    return recipe.model_copy(update={"tasks": ()})


FORMS: dict[str, Callable[[Path], Recipe]] = {
    "demo": _demo,
    "trial-tasks": _tasks,
    "trial-bitfit": _bitfit,
    "wikipedia-mini": _wikipedia,
}


def measure(name: str, folder: Path) -> list[dict[str, Any]]:
    """Run one form in this process; return forecast and fact of each stage."""
    recipe = FORMS[name](folder).model_copy(update={"store": folder / "store", "report": False})
    result = bertwright.run(recipe)
    forecast: Mapping[str, Any] = files.read_json(result.folder / "forecast.json")
    return [
        {
            "stage": stage,
            "time": [forecast[stage]["seconds"], sealed.record["seconds"]],
            "memory": [forecast[stage]["memory_bytes"], sealed.record["peak_memory_bytes"]],
            "disk": [forecast[stage]["disk_bytes"], sealed.record["disk_bytes"]],
        }
        for stage, sealed in result.stages.items()
        if stage in forecast
    ]


WHOLE: dict[str, Callable[[list[float]], float]] = {"time": sum, "memory": max, "disk": sum}


def errors(stages: list[dict[str, Any]]) -> dict[str, float]:
    """Return how far forecasts of a whole run were from the fact, as shares of the fact."""
    found = {}
    for what, whole in WHOLE.items():
        forecast, fact = (whole([stage[what][place] for stage in stages]) for place in (0, 1))
        found[f"{what}_error"] = abs(forecast - fact) / fact
    return found


def show(name: str, stages: list[dict[str, Any]]) -> None:
    """Print fact over forecast of each kind of stage."""
    kinds = defaultdict(list)
    for stage in stages:
        kinds[stage["stage"].partition("/")[0]].append(stage)
    print(f"{name:16}{'stage':12}{'number':>7}{'time':>20}{'memory, MB':>20}{'disk, MB':>20}   forecast / fact")
    for kind, some in [*kinds.items(), ("all", stages)]:
        cells = []
        for what, whole in WHOLE.items():
            unit = 1 if what == "time" else 1e6
            forecast, fact = (whole([stage[what][place] for stage in some]) / unit for place in (0, 1))
            cells.append(f"{forecast:9.1f} /{fact:8.1f}")
        print(f"{'':16}{kind:12}{len(some):7}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def main() -> None:
    """Measure each form in a process of its own, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--save", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if wanted.one:
            print(json.dumps(measure(wanted.one, Path(place))))
            return
    found, each = {}, {}
    for name in wanted.only:
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
        each[name] = json.loads(done.stdout.splitlines()[-1])
        found[name] = errors(each[name])
        show(name, each[name])
    worst = {f"{what}_error": max(one[f"{what}_error"] for one in found.values()) for what in WHOLE}
    if wanted.save:
        files.write_json(wanted.save, {**worst, "recipes": found, "stages": each})
    print(json.dumps({**{key: round(value, 3) for key, value in worst.items()}, "recipes": found}))


if __name__ == "__main__":
    main()

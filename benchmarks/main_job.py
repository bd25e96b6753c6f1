"""Run a recipe from text to report and print its scores and costs; the last line is one JSON object.

    python benchmarks/main_job.py RECIPE [a.b=c ...] [--save NAME]

With `--save` the object is also written to benchmarks/results/NAME.json. Without a recipe, the demo is run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import bertwright
from bertwright.demo.write import write_demo
from bertwright.reports.tables import summary_lines

RESULTS = Path(__file__).parent / "results"


def figures(result: bertwright.Result, command: str) -> dict[str, Any]:
    """Return what a reader wants to compare: scores by task and variant, and fact against forecast by stage."""
    records = result.records
    scores = {
        record["results"]["task"]: {
            "variants": record["results"]["variants"],
            "comparisons": record["results"]["comparisons"],
        }
        for record in records.of_kind("evaluate")
    }
    forecast = records.forecast or {}
    costs = {
        record["name"]: {
            "seconds": record["seconds"],
            "forecast_seconds": forecast.get(record["name"], {}).get("seconds"),
            "peak_memory_bytes": record["peak_memory_bytes"],
            "disk_bytes": record["disk_bytes"],
        }
        for record in records.stages
    }
    keys = ("family", "size", "parameters", "steps", "tokens", "tokens_per_second", "utilisation", "held_out_loss")
    pretrain = {key: record["results"][key] for record in records.of_kind("pretrain") for key in keys}
    machine, versions = records.stages[0]["machine"], records.stages[0]["versions"]
    return {
        "date": records.created,
        "command": command,
        "machine": machine,
        "versions": versions,
        "pretrain": pretrain,
        "scores": scores,
        "costs": costs,
    }


def main() -> None:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--save")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recipe = arguments.recipe or write_demo(Path(folder))
        result = bertwright.run(bertwright.load_recipe(recipe, arguments.overrides))
        command = " ".join(["bertwright run", arguments.recipe or "demo/recipe.yaml", *arguments.overrides])
        found = figures(result, command)
        for line in summary_lines(result.records):
            print(line)
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{arguments.save}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

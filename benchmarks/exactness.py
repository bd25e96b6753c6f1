"""Measure how far the same recipe's weights lie apart where they cannot be equal; the last line is one JSON object.

    python benchmarks/exactness.py [STEPS]

A small encoder is pretrained on the demo's text: twice with one thread, with two threads, and as two ranks; in fp32 and
in bf16. The figures are the largest difference of any weight, as a share of the largest weight, and the difference of
the held-out losses. (That stops change nothing is a test: tests/pipeline/test_kill.py.)
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import safetensors.numpy
import yaml

import bertwright
from bertwright.demo.write import write_demo

SHAPE = {"layers": 3, "width": 128, "heads": 4, "inner": 512, "positions": 64}
FORMS = {
    "one thread again": ["system.threads=1"],
    "two threads": ["system.threads=2"],
    "two ranks": ["system.threads=2", "system.devices=2"],
}


def pretrained(path: Path, name: str, changes: list[str]) -> tuple[dict[str, Any], float]:
    """Return the weights, and the held-out loss, from a store that has the rows already."""
    store = path.parent / name
    shutil.copytree(path.parent / "prepared", store, symlinks=True)
    result = bertwright.pretrain(bertwright.load_recipe(path, [f"store={store}", "report=false", *changes]))
    record = result.stages["pretrain"]
    weights = safetensors.numpy.load_file(record.folder / "model" / "model.safetensors")
    return weights, record.record["results"]["held_out_loss"]


def main() -> None:
    """Measure and print."""
    steps = sys.argv[1] if len(sys.argv) > 1 else "200"
    found = {}
    with tempfile.TemporaryDirectory() as place:
        write_demo(Path(place), seed=0)
        recipe = yaml.safe_load((Path(place) / "recipe.yaml").read_text())
        own = {"budget": f"{steps} steps", "batch": 32, "evaluations": 1}
        path = Path(place) / "exact.yaml"
        kept = {key: one for key, one in recipe.items() if key not in ("tasks", "finetune", "system")}
        path.write_text(yaml.safe_dump({**kept, "encoder": SHAPE, "pretrain": own, "tasks": []}))
        bertwright.prepare(bertwright.load_recipe(path, [f"store={path.parent / 'prepared'}"]))
        for precision in ("fp32", "bf16"):
            usual = [f"system.precision={precision}", "system.probe=false"]
            whole, loss = pretrained(path, f"{precision}-one", [*usual, "system.threads=1"])
            largest = max(float(abs(one).max()) for one in whole.values())
            for name, changes in FORMS.items():
                other, its = pretrained(path, f"{precision}-{name}", [*usual, *changes])
                apart = max(float(abs(one - other[key]).max()) for key, one in whole.items()) / largest
                losses = abs(loss - its)
                found[f"{precision}, {name}"] = {"weights": apart, "loss": losses}
                print(f"{precision}, one thread against {name}: weights {apart:.2g}, loss {losses:.2g}", flush=True)
    print(json.dumps({"steps": int(steps), "apart": found}))


if __name__ == "__main__":
    main()

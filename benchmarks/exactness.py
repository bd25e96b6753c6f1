"""Measure how far the same recipe's weights lie apart where they cannot be equal; the last line is one JSON object.

    python benchmarks/exactness.py [STEPS]

A small encoder is pretrained on the demo's text: twice with one thread, once stopped and continued, and then with two
threads and as two ranks; in fp32 and in bf16. The figures are the largest difference of any weight, as a share of the
largest weight, and the difference of the held-out losses.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import safetensors.numpy
import yaml

from bertwright import files
from bertwright.demo.write import write_demo

SHAPE = {"layers": 3, "width": 128, "heads": 4, "inner": 512, "positions": 64}
FORMS = {
    "again": ["system.threads=1"],
    "stopped": ["system.threads=1"],
    "two threads": ["system.threads=2"],
    "two ranks": ["system.threads=2", "system.devices=2"],
}


def command(path: Path, store: Path, changes: list[str]) -> list[str]:
    """Return the command that pretrains into a store."""
    return [sys.executable, "-m", "bertwright", "pretrain", str(path), f"store={store}", "-q", *changes]


def stop_once(arguments: list[str], store: Path) -> None:
    """Kill a pretraining behind its first checkpoint."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(store.glob("stages/pretrain*/scratch/whole/checkpoint-*")):
        time.sleep(0.01)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def pretrained(path: Path, store: Path, changes: list[str], *, stop: bool = False) -> tuple[dict[str, object], float]:
    """Return the weights, and the held-out loss."""
    arguments = command(path, store, changes)
    if stop:
        stop_once(arguments, store)
    subprocess.run(arguments, check=True, capture_output=True)
    (folder,) = store.glob("stages/pretrain-*")
    record = files.read_json(folder / "record.json")
    assert record["results"]["interruptions"] == stop, "the stop came too late"
    return safetensors.numpy.load_file(folder / "model" / "model.safetensors"), record["results"]["held_out_loss"]


def main() -> None:
    """Measure and print."""
    steps = sys.argv[1] if len(sys.argv) > 1 else "200"
    found = {}
    with tempfile.TemporaryDirectory() as place:
        write_demo(Path(place) / "demo", seed=0)
        recipe = yaml.safe_load((Path(place) / "demo" / "recipe.yaml").read_text())
        recipe["encoder"] = SHAPE
        recipe["pretrain"] = {"budget": f"{steps} steps", "batch": 32, "checkpoint_every": "20 steps"}
        path = Path(place) / "demo" / "exact.yaml"
        path.write_text(yaml.safe_dump({key: one for key, one in recipe.items() if key not in ("tasks", "finetune")}))
        for precision in ("fp32", "bf16"):
            usual = [f"system.precision={precision}", "system.probe=false"]
            whole, loss = pretrained(path, Path(place) / f"{precision}-one", [*usual, "system.threads=1"])
            largest = max(float(abs(one).max()) for one in whole.values())
            for name, changes in FORMS.items():
                store = Path(place) / f"{precision}-{name}"
                other, its = pretrained(path, store, [*usual, *changes], stop=name == "stopped")
                apart = max(float(abs(one - other[key]).max()) for key, one in whole.items()) / largest
                found[f"{precision}, {name}"] = {"weights": apart, "loss": abs(loss - its)}
                print(
                    f"{precision}, one thread against {name:12}: weights {apart:.2g}, loss {abs(loss - its):.2g}"
                )
    print(json.dumps({"steps": int(steps), "apart": found}))


if __name__ == "__main__":
    main()

"""Full fine-tuning, BitFit and a head alone on an encoder of yours: what each trains, and what it reaches.

    python examples/compare_methods.py WORK ENCODER
"""

import sys
from pathlib import Path

import bertwright
from bertwright.demo.write import write_demo


def main(work: Path, encoder: Path, toy: bool = False) -> dict[str, float]:
    """Print a line a method and the paired comparisons; return the means by variant."""
    data = write_demo(work / "data", documents=40 if toy else 4000).parent
    result = bertwright.run(
        {
            "name": "methods",
            "store": work / "store",
            "encoder": {"folder": encoder},
            "finetune": {
                "epochs": 0.1 if toy else 6,
                "seeds": 2 if toy else 3,
                "max_length": 64,
                "trainable": [
                    {"method": "bitfit", "learning_rate": 6e-3},
                    {"method": "full", "learning_rate": 3e-4},
                    {"method": "head", "learning_rate": 6e-3},
                ],
            },
            "tasks": [
                {
                    "name": "topic",
                    "train": data / "tasks/topic/train.csv",
                    "sets": {"dev": {"file": data / "tasks/topic/dev.csv"}},
                    "text": "text",
                }
            ],
        }
    )
    found = result.stages["evaluate/topic"].record["results"]
    means = {one["variant"]: one["scores"]["dev"]["accuracy"]["mean"] for one in found["variants"]}
    for variant, mean in means.items():
        run = result.stages[f"finetune/topic/{variant}/seed-0"].record["results"]
        print(f"{variant}: {mean:.3f}, {run['trained_parameters']:,} of {run['parameters']:,} numbers learnt")
    for one in found["comparisons"]:
        said = "clear" if one["clear"] else "not clear"
        print(f"{one['a']} minus {one['b']}: {one['difference']:+.3f}, 95 % {one['interval']}, {said}")
    return means


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

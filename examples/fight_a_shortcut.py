"""Find what gives the labels away, and train against it; a set where the shortcut is broken tells whether that helped.

    python examples/fight_a_shortcut.py WORK ENCODER
"""

import sys
from pathlib import Path

import bertwright
from bertwright.debias.shortcuts import find
from bertwright.demo.write import write_demo
from bertwright.tasks.readers import read_rows
from bertwright.tasks.task import Task


def main(work: Path, encoder: Path, toy: bool = False) -> dict[str, dict[str, float]]:
    """Print the strongest features and the scores in and out of distribution; return those by variant and set."""
    data = write_demo(work / "data", documents=40 if toy else 4000).parent / "tasks/inference"
    sets = {"dev": data / "dev.jsonl", "ood": data / "ood.jsonl"}
    columns = ("premise", "hypothesis")
    task = Task("inference", "classification", columns, "label", data / "train.jsonl", sets, ("accuracy",))
    rows = read_rows(task, task.train)
    found = find(rows.texts, [str(label) for label in rows.labels], columns)
    for shortcut in found.shortcuts[:3]:
        print(shortcut)

    shape = {"layers": 1, "width": 16} if toy else {"layers": 2, "width": 128}
    epochs = 0.1 if toy else 6
    expert = {"kind": "small-model", **shape, "heads": 2, "folds": 2, "epochs": 0.1 if toy else 8}
    guided = {"method": "full", "loss": {"name": "guided", "alpha": 0.3, "beta": 0.1}, "expert": "small"}
    learn = {"trainable": ["full", guided], "experts": {"small": expert}, "epochs": epochs}
    result = bertwright.run(
        {
            "name": "shortcut",
            "store": work / "store",
            "encoder": {"folder": encoder},
            "finetune": {**learn, "seeds": 1 if toy else 3, "learning_rate": 3e-4, "max_length": 64},
            "tasks": [
                {
                    "name": "inference",
                    "train": data / "train.jsonl",
                    "sets": {name: {"file": path} for name, path in sets.items()},
                    "text": list(columns),
                }
            ],
        }
    )
    variants = result.stages["evaluate/inference"].record["results"]["variants"]
    means = {one["variant"]: {part: one["scores"][part]["accuracy"]["mean"] for part in sets} for one in variants}
    for variant, own in means.items():
        print(f"{variant}: dev {own['dev']:.3f}, ood {own['ood']:.3f}")
    return means


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

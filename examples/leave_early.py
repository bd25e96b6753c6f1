"""Classifiers after inner layers, a threshold with a promise, and how many layers the rows of a file then take.

    python examples/leave_early.py WORK ENCODER
"""

import sys
from pathlib import Path

import bertwright
from bertwright.demo.write import write_demo
from bertwright.stages.exiting import load_exiting


def main(work: Path, encoder: Path, toy: bool = False) -> Path:
    """Train ramps on a task's run, print the promise and a comparison of thresholds; return the run with its ramps."""
    data = write_demo(work / "data", documents=40 if toy else 4000).parent / "tasks/topic"
    result = bertwright.run(
        {
            "name": "early",
            "store": work / "store",
            "encoder": {"folder": encoder},
            "finetune": {
                "epochs": 0.1 if toy else 6,
                "learning_rate": 3e-4,
                "max_length": 64,
                "seeds": 1,
                "exits": {"epochs": 0.1 if toy else 10, "max_drop": ["2 %"], "timed_rows": 4 if toy else 100},
            },
            "tasks": [
                {
                    "name": "topic",
                    "train": data / "train.csv",
                    "sets": {"dev": {"file": data / "dev.csv"}},
                    "text": "text",
                }
            ],
        }
    )
    for note in result.stages["ramps/topic/given/seed-0"].record["results"]["notes"]:
        print(note)
    run = result.folder / "exits/topic/given/seed-0"
    texts = [(line.partition(",")[0],) for line in (data / "dev.csv").read_text().splitlines()[1:33]]
    for policy in ("never", "entropy:0.5", "entropy:1.5"):
        exiting = load_exiting(run, policy)
        found = exiting.answer(exiting.answering.encode(texts, max_length=64))
        print(f"{policy}: {found.layers.mean():.2f} layers a row")
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

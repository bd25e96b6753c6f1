"""From raw text to a classifier: pretrain an encoder on a folder of text, then learn a task on it.

    python examples/pretrain_and_classify.py WORK

WORK gets a small made-up language, as `bertwright demo` writes it; put your own files in its place. The other examples
go on from the encoder that this one leaves.
"""

import sys
from pathlib import Path
from typing import Any

import bertwright
from bertwright.demo.write import write_demo


def recipe_in(work: Path, toy: bool) -> dict[str, Any]:
    """Return a recipe as a mapping of its sections; `toy` is for tests, which have seconds."""
    data = write_demo(work / "data", documents=40 if toy else 4000).parent
    shape = {"layers": 2, "width": 16, "heads": 2, "inner": 32} if toy else {"width": 128, "inner": 512}
    return {
        "name": "classify",
        "store": work / "store",
        "prepare": {"sources": [{"path": data / "corpus"}], "row_length": 64},
        "tokenizer": {"vocabulary": 384},
        "encoder": {"size": "mini", "positions": 128, **shape},
        "pretrain": {"budget": "4 steps" if toy else "800k tokens", "batch": 16, "optimizer": "muon"},
        "finetune": {"epochs": 0.1 if toy else 6, "learning_rate": 3e-4, "max_length": 64, "seeds": 1 if toy else 3},
        "tasks": [
            {
                "name": "topic",
                "train": data / "tasks/topic/train.csv",
                "sets": {"dev": {"file": data / "tasks/topic/dev.csv"}},
                "text": "text",
            }
        ],
    }


def main(work: Path, toy: bool = False) -> Path:
    """Run the recipe, print the scores, and return the encoder's folder; a second call finds all of it done."""
    result = bertwright.run(recipe_in(work, toy))
    for variant in result.stages["evaluate/topic"].record["results"]["variants"]:
        score = variant["scores"]["dev"]["accuracy"]
        print(f"{variant['variant']}: accuracy {score['mean']:.3f} over {len(score['values'])} seeds on dev")
    print(f"the page to read: {result.report}")
    return result.folder / "encoder"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

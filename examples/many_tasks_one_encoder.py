"""Two tasks on one frozen encoder: each is a pack of biases and a head, and one batch has rows of both.

    python examples/many_tasks_one_encoder.py WORK ENCODER

ENCODER is any model folder: one of your own, or the one that `pretrain_and_classify.py` left.
"""

import sys
from pathlib import Path

import torch

import bertwright
from bertwright.demo.write import write_demo
from bertwright.encoder import families
from bertwright.encoder.packed import Resident
from bertwright.pack import read
from bertwright.text.tokenizer import Tokenizer


def main(work: Path, encoder: Path, toy: bool = False) -> dict[str, Path]:
    """Learn the packs, answer a mixed batch, and return the packs by task."""
    data = write_demo(work / "data", documents=40 if toy else 4000).parent
    texts = {"topic": "text", "inference": ["premise", "hypothesis"]}
    suffix = {"topic": "csv", "inference": "jsonl"}
    tasks = [
        {
            "name": name,
            "train": data / f"tasks/{name}/train.{suffix[name]}",
            "sets": {"dev": {"file": data / f"tasks/{name}/dev.{suffix[name]}"}},
            "text": text,
        }
        for name, text in texts.items()
    ]
    learn = {"trainable": "bitfit", "learning_rate": 6e-3, "epochs": 0.1 if toy else 6, "seeds": 1, "max_length": 64}
    recipe = {"name": "packs", "store": work / "store", "encoder": {"folder": encoder}}
    result = bertwright.run({**recipe, "finetune": learn, "tasks": tasks})
    packs = {name: result.folder / f"tasks/{name}/given/seed-0.pack" for name in texts}

    tokenizer = Tokenizer.load(encoder)
    resident = Resident(families.load(encoder), tokenizer=tokenizer.identity())
    for name, path in packs.items():
        resident.add(name, read(path))
        print(f"{name}: {path.stat().st_size:,} bytes")
    rows = tokenizer.encode(["lo nola nipu fagu lo zezi", "lo nipu ke fagu"])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor([tokenizer.cls_id, *r, tokenizer.sep_id]) for r in rows], True)
    lengths = torch.tensor([[len(row) + 2] for row in rows])
    mask = torch.arange(ids.shape[1]) < lengths
    for name, logits in zip(packs, resident.mixed(list(packs), ids, mask, torch.zeros_like(ids)), strict=True):
        print(f"a row of {name}: {read(packs[name]).task.labels[int(logits.argmax())]}")
    return packs


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

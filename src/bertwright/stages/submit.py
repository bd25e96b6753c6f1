"""Answers to a test file without labels, in its own order and its task's own words."""

from __future__ import annotations

from pathlib import Path

from bertwright.stages.fine_tuned import answering
from bertwright.tasks.metrics import decide
from bertwright.tasks.readers import read
from bertwright.tasks.submission import by_index
from bertwright.tasks.task import Task
from bertwright.training.precision import choose


def answer_file(
    folder: Path, task: Task, path: Path, *, max_length: int, device: str = "auto", precision: str = "auto"
) -> list[str | float]:
    """Return a fine-tuned model's answers to a file, by the rows' index: words, or numbers for a regression.

    ``DataError`` where indices are missing or stand twice.
    """
    rows = read(path, text=task.text, label=None, kind=task.kind, layout=task.layout)
    model = answering(folder, choose(device, precision))
    encoded = model.encode([rows.texts[place] for place in by_index(rows)], max_length, task.window_stride)
    decided = decide(model.logits(encoded), task.kind)
    if task.kind == "regression":
        return [float(number) for number in decided]
    return [model.labels[int(number)] for number in decided]

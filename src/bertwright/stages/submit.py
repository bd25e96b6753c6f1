"""Answers to a test file without labels, in its own order and its task's own words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bertwright.errors import DataError
from bertwright.stages.fine_tuned import Answering
from bertwright.tasks.metrics import decide
from bertwright.tasks.readers import Rows, read
from bertwright.tasks.task import Task
from bertwright.training.precision import choose

_SHOWN = 5


def answer_file(
    folder: Path, task: Task, path: Path, *, max_length: int, device: str = "auto", precision: str = "auto"
) -> list[str | float]:
    """Return a fine-tuned model's answers to a file, by the rows' index: words, or numbers for a regression.

    ``DataError`` where indices are missing or stand twice.
    """
    rows = read(path, text=task.text, label=None, kind=task.kind, layout=task.layout)
    model = Answering(folder, choose(device, precision))
    encoded = model.encode([rows.texts[place] for place in by_index(rows)], max_length, task.window_stride)
    decided = decide(model.logits(encoded), task.kind)
    if task.kind == "regression":
        return [float(number) for number in decided]
    return [model.labels[int(number)] for number in decided]


def by_index(rows: Rows) -> list[int]:
    """Return the places of rows in the order of their index, from 0; files without one stay as they are."""
    count = len(rows)
    if list(rows.ids) == [str(number) for number in range(1, count + 1)]:
        return list(range(count))
    try:
        places = {int(own): place for place, own in enumerate(rows.ids)}
    except ValueError:
        places = {}
    if places.keys() == set(range(count)):
        return [places[number] for number in range(count)]
    twice = [own for own, often in Counter(rows.ids).items() if often > 1]
    wanted = {str(number) for number in range(count)}
    raise DataError(
        f"{rows.path}: its {count} rows should have the indices 0 to {count - 1}, each once; "
        + "; ".join(
            f"{what}: {', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''}"
            for what, found in (
                ("twice", twice),
                ("missing", sorted(wanted - set(rows.ids), key=int)),
                ("unexpected", sorted(set(rows.ids) - wanted)),
            )
            if found
        )
        + ". Take the test file as it was published"
    )

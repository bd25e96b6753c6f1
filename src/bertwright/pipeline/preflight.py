"""A look into the user's files before any work: what would fail after hours fails now."""

from __future__ import annotations

from bertwright.recipe import Prepare
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import read_rows
from bertwright.tasks.task import Task
from bertwright.text.documents import Troubles, documents
from bertwright.text.sources import Source, expand, passed_over


def look_into_source(source: Source, prepare: Prepare, notes: list[str]) -> None:
    """Read the first document of every file: columns, encodings and packing show there."""
    left = passed_over([source])
    if left:
        notes.append(f"note: {len(left)} files of {source.path} have a suffix that is not read, such as {left[0].name}")
    for file in expand([source]):
        next(documents(file, errors=prepare.errors, broken_rows=prepare.broken_rows, troubles=Troubles()), None)


def look_into_task(task: Task, notes: list[str]) -> None:
    """Read all rows of a task's files and map their labels."""
    rows = read_rows(task, task.train)
    labels = LabelMap.from_rows(rows, task.kind)
    notes += [f"note: task {task.name}: {note}" for note in labels.notes]
    for path in task.sets.values():
        labels.numbers(read_rows(task, path))

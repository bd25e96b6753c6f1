"""A look into the user's files before any work: what would fail after hours fails now."""

from __future__ import annotations

from dataclasses import replace

from bertwright.debias.expert_file import signals_in_file, with_own_ids
from bertwright.debias.experts import dealt, partial
from bertwright.recipe.sections import Finetune
from bertwright.recipe.task import Task as TaskChoice
from bertwright.recipe.text import Prepare
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import read_rows, read_set
from bertwright.tasks.scoring import scored_set
from bertwright.tasks.shared_rows import shared_note
from bertwright.tasks.task import Task
from bertwright.tasks.weights import label_weights
from bertwright.text.documents import Troubles, documents
from bertwright.text.sources import Source, expand, passed_over
from bertwright.text.troubles import Limit

_LONGEST = 10_000_000  # bytes of a document that a look is worth


def sources_of(prepare: Prepare | None) -> list[Source]:
    """Return the sources of a recipe's text that are files; none where it takes prepared rows."""
    sources = prepare.sources if prepare else ()
    return [
        Source(str(source.path), source.format, source.column, source.boundary, number)
        for number, source in enumerate(sources)
        if source.path is not None
    ]


def left_out(sources: list[Source]) -> list[str]:
    """Return a sentence for each source that holds files of unknown kinds, which are not read."""
    return [
        f"{len(left)} file(s) of {source.path} have a suffix that is not read, such as {left[0].name}"
        for source in sources
        if (left := passed_over([source]))
    ]


def look_into_source(source: Source, prepare: Prepare, notes: list[str]) -> None:
    """Read the first document of every file: columns, encodings and packing show there."""
    notes += [f"note: {note}" for note in left_out([source])]
    for file in expand([source]):
        next(
            documents(
                file,
                errors=prepare.errors,
                broken_rows=prepare.broken_rows,
                troubles=Troubles(),
                limit=Limit(_LONGEST, leave_out=True),
            ),
            None,
        )


def look_into_experts(task: Task, choice: TaskChoice, finetune: Finetune, notes: list[str]) -> None:
    """Hold the files of logits that a task's methods name, and the folds of experts, against its training rows."""
    methods = choice.trainable or finetune.trainable
    used = {one.expert: expert for one in methods if (expert := finetune.experts.get(one.expert or "")) is not None}
    if task.kind != "classification" or not used:
        return
    rows = with_own_ids(read_rows(task, task.train))
    labels = LabelMap.from_rows(rows, task.kind)
    for name, expert in used.items():
        if expert.file is not None:
            _, told = signals_in_file(expert.file, rows, labels, values=expert.values, names=expert.names)
            notes += [f"note: task {task.name}, expert {name}: {note}" for note in told]
            continue
        texts, places = partial(rows.texts, task.text, expert.columns or task.text)
        whole = len(places) == len(task.text)
        dealt(replace(rows, texts=tuple(texts)), labels.numbers(rows), expert.folds, seed=0, whole=whole)


def look_into_task(task: Task, notes: list[str]) -> None:
    """Read all rows of a task's files, map their labels, and see that every set can be scored."""
    rows = read_rows(task, task.train)
    labels = LabelMap.from_rows(rows, task.kind)
    found = [*labels.notes, *rows.notes]
    if task.class_weights is not None:
        label_weights(task.class_weights, labels, labels.numbers(rows))
    for name in task.sets:
        one = scored_set(task, labels, name, read_set(task, name))
        found += [*one.rows.notes, *([f"{name}: {one.convention}"] if one.convention else [])]
        found += [shared] if (shared := shared_note(rows, one.rows)) is not None else []
    notes += [f"note: task {task.name}: {note}" for note in dict.fromkeys(found)]

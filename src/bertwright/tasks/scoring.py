"""A set and what is scored on it: all rows, the rows of each value of a column, and whole documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bertwright.errors import DataError
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.merging import MERGES, checked_counterparts, convention
from bertwright.tasks.metrics import METRICS, Score, decide, floor
from bertwright.tasks.readers import Label, Rows
from bertwright.tasks.task import DEFAULT_METRICS, LABEL, SetForm, Task, group_columns

_MOST_VALUES = 500  # of a column that tells groups apart; more is an id


@dataclass(frozen=True)
class Group:
    """The rows of a set that share a column's value, or those of several: their numbers, and how they are scored."""

    group: str
    value: str
    rows: np.ndarray
    metric: str


@dataclass(frozen=True)
class ScoredSet:
    """One set: its rows, their labels as numbers (n,) or (n, C), and how a model's logits become answers to them.

    ``places`` are the numbers of the set's labels that a model's labels become; ``None`` where they are the same.
    """

    name: str
    rows: Rows
    gold: np.ndarray
    kind: str
    form: SetForm
    names: tuple[str, ...] | None
    places: np.ndarray | None
    convention: str | None

    @property
    def positive(self) -> int | None:
        """Return the number of the label that F1 counts."""
        return self.names.index(self.form.positive) if self.names and self.form.positive in self.names else None

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Return answers for a model's logits (n, C), in the form of ``gold``."""
        own = decide(logits, self.kind)
        if self.places is None or self.form.merge is None or self.names is None:
            return own
        return MERGES[self.form.merge].compute(logits, self.places, len(self.names))

    def compared(self, metric: str, answers: np.ndarray) -> np.ndarray:
        """Return answers, or gold labels, as a metric takes them: rows, or the union of a document's rows."""
        if not METRICS[metric].of_documents:
            return answers
        _, numbers = self._documents
        whole = np.zeros((int(numbers.max()) + 1, answers.shape[1]), dtype=answers.dtype)
        np.maximum.at(whole, numbers, answers)
        return whole

    def score(self, metric: str, answers: np.ndarray) -> Score:
        """Return one metric of a run's answers."""
        gold = self.compared(metric, self.gold)
        return METRICS[metric].compute(gold, self.compared(metric, answers), self.positive)

    def floor(self, metric: str) -> Score:
        """Return the score of the best constant answer."""
        return floor(self.compared(metric, self.gold), self.kind, metric, self.positive)

    @property
    def documents(self) -> int | None:
        """Return how many documents the rows are of; ``None`` where that is not asked."""
        return len(self._documents[0]) if self.form.documents else None

    @cached_property
    def _documents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the documents' names and the number of each row's, (n,)."""
        names, numbers = np.unique(self.rows.columns[str(self.form.documents)], return_inverse=True)
        return names, numbers

    def groups(self) -> Iterator[Group]:
        """Give the groups that the set is scored for, values in their order by name.

        Those that are of one label each are scored by accuracy: F1 and correlations say little of them.
        """
        usual = DEFAULT_METRICS[self.kind]
        for group in self.form.groups:
            columns = group_columns(group)
            metric = next(one for one in (*self.form.metrics, *usual) if not METRICS[one].of_documents)
            if LABEL in columns and self.kind == "classification":
                metric = "accuracy"
            values, numbers = np.unique(self._values(columns), return_inverse=True)
            for number, value in enumerate(values):
                yield Group(group, str(value), np.flatnonzero(numbers == number), metric)

    def score_group(self, group: Group, answers: np.ndarray) -> Score:
        """Return the score of one group of rows."""
        return METRICS[group.metric].compute(self.gold[group.rows], answers[group.rows], self.positive)

    def _values(self, columns: tuple[str, ...]) -> list[str]:
        parts = [
            [_word(label) for label in self.rows.labels] if column == LABEL else self.rows.columns[column]
            for column in columns
        ]
        return [" x ".join(values) for values in zip(*parts, strict=True)]


def scored_set(task: Task, labels: LabelMap, name: str, rows: Rows) -> ScoredSet:
    """Return a set of a task with its labels as numbers, for models that know ``labels``.

    ``DataError`` or ``InputError`` where the set's labels are not the model's and do not follow from them, and where a
    column of groups has a value for about every row.
    """
    form = task.form(name)
    _refuse_groups(task, form, rows)
    if form.known is None or form.merge is None or labels.names is None or _same_labels(labels.names, form):
        return ScoredSet(name, rows, labels.numbers(rows), task.kind, form, labels.names, None, None)
    own = LabelMap(task.kind, form.layout.labels)
    what = f"task {task.name}, set {name} ({form.known})"
    places = checked_counterparts(labels.names, form.layout.labels, form.becomes, merge=form.merge, what=what)
    said = convention(labels.names, form.layout.labels, places, form.merge)
    return ScoredSet(name, rows, own.numbers(rows), task.kind, form, own.names, places, said)


def _same_labels(model: tuple[str, ...], form: SetForm) -> bool:
    """Whether a set has the labels that a model answers with, in whatever order each side numbers them."""
    return set(form.layout.labels) == set(model) and all(form.becomes.get(word, word) == word for word in model)


def _refuse_groups(task: Task, form: SetForm, rows: Rows) -> None:
    for column in {column for group in form.groups for column in group_columns(group)}:
        if column == LABEL:
            if task.kind == "regression":
                raise DataError(
                    f"task {task.name}: `groups` has `label`, and labels of a regression are numbers; name a column"
                )
            continue
        count = len(set(rows.columns[column]))
        if count > _MOST_VALUES:
            raise DataError(
                f"{rows.path}: column {column!r} of `groups` has {count:,} values, at most {_MOST_VALUES} are scored "
                "apart; name a column that tells groups of rows"
            )


def _word(label: Label) -> str:
    return "; ".join(label) or "none" if isinstance(label, tuple) else str(label)

"""A task: what is asked, where its rows are, and how answers are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bertwright.errors import InputError
from bertwright.tasks.layout import Layout
from bertwright.tasks.metrics import METRICS

DEFAULT_METRICS = {
    "classification": ("accuracy", "macro_f1"),
    "multi-label": ("micro_f1", "macro_f1"),
    "regression": ("spearman", "pearson"),
}
LABEL = "label"
"""In a group, the row's label."""
_CROSS = " x "


@dataclass(frozen=True)
class SetForm:
    """How a set is read and scored: as its task, or as another known task whose labels the model's become.

    ``groups`` are columns, or several joined by `` x ``, for each of whose values the set is scored too; ``label``
    among them is the row's label. ``merge`` and ``becomes`` say how a model's labels become the set's own.
    """

    text: tuple[str, ...]
    label: str
    metrics: tuple[str, ...]
    positive: str | None = None
    layout: Layout = field(default_factory=Layout)
    groups: tuple[str, ...] = ()
    documents: str | None = None
    known: str | None = None
    merge: str | None = None
    becomes: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns beside text and label that scores ask for."""
        grouping = [column for group in self.groups for column in group_columns(group) if column != LABEL]
        return tuple(dict.fromkeys([*grouping, *([self.documents] if self.documents else [])]))

    def options(self) -> dict[str, Any]:
        """Return what is not as usual, as plain values."""
        return _options(self, always=("text", "label", "metrics"))

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SetForm:
        """Return the form that ``options`` described."""
        return cls(**_values(options))


@dataclass(frozen=True)
class Task:
    """One labelled data set. ``metrics`` has the headline first; ``sets`` are scored and never trained on.

    ``positive`` is the label that F1 counts; ``none_label`` the word for no label in a multi-label column, whose labels
    ``label_separator`` parts (a list in the file needs neither). ``documents`` is the column that tells which document
    a row is of; ``forms`` are those of the sets that are not read, or not scored, as the task's own. ``class_weights``
    and ``window_stride`` are as ``weights.label_weights`` and ``batches.encode_windows`` take them; so many rows of
    ``train`` are read as ``train_rows`` says, drawn, less the share of them that is ``keep_back`` for exit thresholds,
    and never the pairs that ``without`` names by their ids, as a set has them (see ``dev_pairs``).
    """

    name: str
    kind: str
    text: tuple[str, ...]
    label: str
    train: Path
    sets: Mapping[str, Path]
    metrics: tuple[str, ...]
    positive: str | None = None
    none_label: str | None = None
    label_separator: str = ";"
    layout: Layout = field(default_factory=Layout)
    groups: tuple[str, ...] = ()
    documents: str | None = None
    forms: Mapping[str, SetForm] = field(default_factory=dict)
    class_weights: str | Mapping[str, float] | None = None
    window_stride: int | None = None
    train_rows: int | None = None
    keep_back: float | None = None
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse metrics that do not exist or do not fit the kind."""
        if self.kind not in DEFAULT_METRICS:
            raise InputError(
                f"task {self.name}: kind {self.kind!r} is not known; it is one of {', '.join(DEFAULT_METRICS)}"
            )
        fitting = [name for name, metric in METRICS.items() if self.kind in metric.kinds]
        for name in self.metrics:
            if name not in fitting:
                raise InputError(
                    f"task {self.name}: metric {name!r} is not one for {self.kind}; choose from {', '.join(fitting)}"
                )
        if "f1" in self.metrics and self.positive is None:
            raise InputError(f"task {self.name}: metric f1 needs `positive`, the label that counts; or use macro_f1")
        if self.class_weights is not None and self.kind == "regression":
            raise InputError(f"task {self.name}: `class_weights` are of labels, and a regression has numbers")
        if self.documents is None and any(METRICS[name].of_documents for name in self.metrics):
            raise InputError(
                f"task {self.name}: a metric of documents needs `documents`, the column that tells which document a "
                "row is of"
            )

    @property
    def selection_metric(self) -> str:
        """Return the metric by which settings are chosen: the first of rows, as documents are parted by a hold-out."""
        usual = DEFAULT_METRICS[self.kind]
        return next(name for name in (*self.metrics, *usual) if not METRICS[name].of_documents)

    def as_read(self) -> Task:
        """Return the task as far as its rows are read: without what only trainings and scores hang on."""
        usual = DEFAULT_METRICS[self.kind]
        plain: dict[str, Any] = {"metrics": usual, "positive": None, "groups": (), "documents": None}
        forms = {name: replace(form, **plain, merge=None, becomes={}) for name, form in self.forms.items()}
        return replace(self, **plain, forms=forms, class_weights=None, window_stride=None)

    def as_learnt(self) -> Task:
        """Return the task as far as its trainings go: without what only scores hang on."""
        usual = DEFAULT_METRICS[self.kind]
        return replace(self, metrics=usual, positive=None, groups=(), documents=None, forms={})

    @property
    def own_form(self) -> SetForm:
        """Return how the task's own files are read and scored."""
        return SetForm(
            text=self.text,
            label=self.label,
            metrics=self.metrics,
            positive=self.positive,
            layout=self.layout,
            groups=self.groups,
            documents=self.documents,
        )

    def form(self, name: str) -> SetForm:
        """Return how a set is read and scored."""
        return self.forms.get(name, self.own_form)

    def options(self) -> dict[str, Any]:
        """Return all but the places of the files, as plain values: what decides a result beside the rows themselves."""
        always = ("name", "kind", "text", "label", "metrics", "positive", "none_label", "label_separator")
        return _options(self, always, leave=("train", "sets"))

    @classmethod
    def from_options(cls, options: Mapping[str, Any], train: Path, sets: Mapping[str, Path]) -> Task:
        """Return the task that ``options`` described, with its files."""
        values = _values({key: value for key, value in options.items() if key != "forms"})
        forms = {name: SetForm.from_options(form) for name, form in options.get("forms", {}).items()}
        return cls(**values, forms=forms, train=train, sets=sets)


def group_columns(group: str) -> tuple[str, ...]:
    """Return the columns of a group: one, or those that `` x `` joins."""
    return tuple(part.strip() for part in group.split(_CROSS))


def _options(section: Any, always: tuple[str, ...], leave: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a section's values but those that are off, which no result hangs on, as plain ones."""
    found: dict[str, Any] = {}
    for one in fields(section):
        value = getattr(section, one.name)
        if one.name in leave or (one.name not in always and value in (None, (), {}, Layout())):
            continue
        found[one.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Layout | SetForm):
        return value.options()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _values(options: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return values | ({"layout": Layout.from_options(options["layout"])} if "layout" in options else {})

"""A task: what is asked, where its rows are, and how answers are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.errors import InputError
from bertwright.tasks.metrics import METRICS

DEFAULT_METRICS = {
    "classification": ("accuracy", "macro_f1"),
    "multi-label": ("micro_f1", "macro_f1"),
    "regression": ("spearman", "pearson"),
}


@dataclass(frozen=True)
class Task:
    """One labelled data set. ``metrics`` has the headline first; ``sets`` are scored and never trained on.

    ``positive`` is the label that F1 counts; ``none_label`` the word for no label in a multi-label column, whose labels
    ``label_separator`` parts (a list in the file needs neither).
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

    def __post_init__(self) -> None:
        """Refuse metrics that do not exist or do not fit the kind."""
        if self.kind not in DEFAULT_METRICS:
            raise InputError(f"task {self.name}: kind {self.kind!r} is not one of {', '.join(DEFAULT_METRICS)}")
        fitting = [name for name, metric in METRICS.items() if self.kind in metric.kinds]
        for name in self.metrics:
            if name not in fitting:
                raise InputError(
                    f"task {self.name}: metric {name!r} is not one for {self.kind}; choose from {', '.join(fitting)}"
                )
        if "f1" in self.metrics and self.positive is None:
            raise InputError(f"task {self.name}: metric f1 needs `positive`, the label that counts; or use macro_f1")

    def options(self) -> dict[str, Any]:
        """Return all but the places of the files, as plain values: what decides a result beside the rows themselves."""
        return {
            "name": self.name,
            "kind": self.kind,
            "text": list(self.text),
            "label": self.label,
            "metrics": list(self.metrics),
            "positive": self.positive,
            "none_label": self.none_label,
            "label_separator": self.label_separator,
        }

    @classmethod
    def from_options(cls, options: Mapping[str, Any], train: Path, sets: Mapping[str, Path]) -> Task:
        """Return the task that ``options`` described, with its files."""
        values = {**options, "text": tuple(options["text"]), "metrics": tuple(options["metrics"])}
        return cls(**values, train=train, sets=sets)

"""The two averages that are called GLUE score, each with its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean

Scores = Mapping[tuple[str, str], Mapping[str, float]]
"""Scores by metric for each known task and part, the parts of MNLI being ``matched`` and ``mismatched``, else "": 0 to
100, or 0 to 1; they are averaged as they are."""

# One metric a column, the halves of MNLI apart, no WNLI: how Devlin et al. 2019 and ExtremeBERT count.
_PAPERS = {
    "MNLI-m": ("mnli", "matched", ("accuracy",)),
    "MNLI-mm": ("mnli", "mismatched", ("accuracy",)),
    "QQP": ("qqp", "", ("f1",)),
    "QNLI": ("qnli", "", ("accuracy",)),
    "SST-2": ("sst2", "", ("accuracy",)),
    "CoLA": ("cola", "", ("matthews",)),
    "STS-B": ("stsb", "", ("spearman",)),
    "MRPC": ("mrpc", "", ("f1",)),
    "RTE": ("rte", "", ("accuracy",)),
}
# A column a task, the mean of its metrics and of MNLI's halves, with WNLI: how the leaderboard counts.
_OFFICIAL: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "CoLA": (("cola", "", ("matthews",)),),
    "SST-2": (("sst2", "", ("accuracy",)),),
    "MRPC": (("mrpc", "", ("f1", "accuracy")),),
    "STS-B": (("stsb", "", ("pearson", "spearman")),),
    "QQP": (("qqp", "", ("f1", "accuracy")),),
    "MNLI": (("mnli", "matched", ("accuracy",)), ("mnli", "mismatched", ("accuracy",))),
    "QNLI": (("qnli", "", ("accuracy",)),),
    "RTE": (("rte", "", ("accuracy",)),),
    "WNLI": (("wnli", "", ("accuracy",)),),
}

TASKS = frozenset(task for parts in _OFFICIAL.values() for task, _, _ in parts)
"""Names of the known tasks that stand in an average."""


@dataclass(frozen=True)
class Average:
    """A GLUE score: its columns, those that are missing, and the mean, ``None`` while any is."""

    name: str
    columns: Mapping[str, float]
    missing: tuple[str, ...]

    @property
    def value(self) -> float | None:
        """Return the mean over all columns."""
        return None if self.missing else mean(self.columns.values())


def averages(scores: Scores) -> tuple[Average, Average]:
    """Return the papers' average over nine columns, and the leaderboard's over nine tasks."""
    papers = {name: (part,) for name, part in _PAPERS.items()}
    return _average("glue", papers, scores), _average("glue_official", _OFFICIAL, scores)


def _average(name: str, columns: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]], scores: Scores) -> Average:
    found, missing = {}, []
    for column, parts in columns.items():
        values = [scores.get((task, part), {}).get(metric) for task, part, metrics in parts for metric in metrics]
        whole = [value for value in values if value is not None]
        if len(whole) < len(values):
            missing.append(column)
        else:
            found[column] = mean(whole)
    return Average(name, found, tuple(missing))

"""GLUE's averages, held against the published rows of BERT."""

from __future__ import annotations

import pytest

from bertwright.tasks.glue import averages

# Test scores of Devlin et al. 2019 (table 1), and what the leaderboard shows of BERT-large beside them.
COLUMNS = ("MNLI-m", "MNLI-mm", "QQP", "QNLI", "SST-2", "CoLA", "STS-B", "MRPC", "RTE")
BASE = (84.6, 83.4, 71.2, 90.5, 93.5, 52.1, 85.8, 88.9, 66.4)
LARGE = (86.7, 85.9, 72.1, 92.7, 94.9, 60.5, 86.5, 89.3, 70.1)
OTHERS = {("mrpc", ""): {"accuracy": 85.4}, ("stsb", ""): {"pearson": 87.6}, ("qqp", ""): {"accuracy": 89.3}}
PLACES = {
    "MNLI-m": ("mnli", "matched", "accuracy"),
    "MNLI-mm": ("mnli", "mismatched", "accuracy"),
    "QQP": ("qqp", "", "f1"),
    "QNLI": ("qnli", "", "accuracy"),
    "SST-2": ("sst2", "", "accuracy"),
    "CoLA": ("cola", "", "matthews"),
    "STS-B": ("stsb", "", "spearman"),
    "MRPC": ("mrpc", "", "f1"),
    "RTE": ("rte", "", "accuracy"),
}


def scores(row: tuple[float, ...]) -> dict[tuple[str, str], dict[str, float]]:
    """Return a published row as scores."""
    return {PLACES[name][:2]: {PLACES[name][2]: value} for name, value in zip(COLUMNS, row, strict=True)}


@pytest.mark.parametrize(("row", "expected"), [(BASE, 79.6), (LARGE, 82.1)])
def test_nine_columns_are_the_papers_average(row: tuple[float, ...], expected: float) -> None:
    """BERT's own averages come out of its columns."""
    papers, official = averages(scores(row))
    assert papers.value == pytest.approx(expected, abs=0.05)
    assert list(COLUMNS) == list(papers.columns)
    assert official.value is None and ("MRPC", "STS-B", "QQP", "WNLI") == official.missing


def test_the_leaderboards_average() -> None:
    """BERT-large stands there with 80.5: both metrics of a task, MNLI once, WNLI in."""
    found = scores(LARGE) | {("wnli", ""): {"accuracy": 65.1}}
    for key, more in OTHERS.items():
        found[key] = found[key] | more
    assert averages(found)[1].value == pytest.approx(80.5, abs=0.05)

"""Laws of the rows that are kept back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.tasks.holdout import hold_out
from bertwright.tasks.readers import read_rows, read_set
from bertwright.tasks.task import Task


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=900),
    share=st.floats(0.01, 0.6),
    seed=st.integers(0, 99),
)
def test_the_two_parts_are_the_whole(labels: list[int], share: float, seed: int) -> None:
    """Each row once, never more than half kept back, and no class that is only there."""
    numbers = np.array(labels)
    kept, back = hold_out(numbers, "classification", share=share, seed=seed)
    assert list(range(len(labels))) == sorted([*kept, *back])
    assert len(back) <= len(labels) // 2
    assert set(numbers[back]) <= set(numbers[kept])


@pytest.mark.parametrize(("rows", "wanted"), [(100, 50), (300, 150), (450, 200), (1000, 200), (5000, 500)])
def test_a_tenth_is_kept_back_but_200_at_least(rows: int, wanted: int) -> None:
    """Half of a small set, 200 rows of a middling one, a tenth of a large one."""
    labels = np.arange(rows) % 2
    assert wanted == len(hold_out(labels, "classification", share=0.1, seed=0)[1])


def test_each_class_gives_its_share() -> None:
    """Of 900 and 100 rows, 180 and 20; another seed draws other rows."""
    labels = np.array([0] * 900 + [1] * 100)
    found = [hold_out(labels, "classification", share=0.2, seed=seed)[1] for seed in (0, 1)]
    for back in found:
        assert [180, 20] == np.bincount(labels[back]).tolist()
    assert set(found[0]) != set(found[1])


def test_numbers_are_kept_back_over_their_whole_range() -> None:
    """Each tenth of the values gives about a tenth of the rows."""
    labels = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    back = hold_out(labels, "regression", share=0.2, seed=3)[1]
    tenths = np.searchsorted(np.quantile(labels, np.linspace(0.1, 0.9, 9)), labels[back])
    assert np.bincount(tenths, minlength=10) == pytest.approx([40] * 10, abs=1)


def test_rare_labels_are_dealt_out_too() -> None:
    """Of 20 rows with a label in 1,000, about a fifth is kept back."""
    labels = np.zeros((1000, 3), dtype=np.float32)
    labels[:500, 0], labels[100:120, 2] = 1, 1
    back = hold_out(labels, "multi-label", share=0.2, seed=0)[1]
    assert 4 == labels[back, 2].sum() and abs(labels[back, 0].sum() - 100) <= 1


def test_some_training_rows_are_always_the_same(tmp_path: Path) -> None:
    """So many, in their own order, of the training file alone; the note says how many there are."""
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {n}", "label": "ab"[n % 2]}) + "\n" for n in range(100)))
    dev = tmp_path / "dev.jsonl"
    dev.write_text(path.read_text())
    task = Task("t", "classification", ("text",), "label", path, {"dev": dev}, ("accuracy",), train_rows=30)
    found = read_rows(task, path)
    numbers = [int(text[0].split()[1]) for text in found.texts]
    assert 30 == len(found) and sorted(numbers) == numbers and numbers[-1] > 40
    assert found == read_rows(task, path)
    assert found.notes[-1] == "train.jsonl: 30 of 100 rows are learnt from, as `train_rows` asks"
    assert 100 == len(read_set(task, "dev")) == len(read_rows(replace(task, train_rows=200), path))

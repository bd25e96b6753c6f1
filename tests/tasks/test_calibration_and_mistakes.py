"""Calibration against a hand computation and scikit-learn; confusion tables and hard rows."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics

from bertwright.tasks.calibration import calibration
from bertwright.tasks.mistakes import confusion, often_wrong


def logits_of(probabilities: list[float]) -> np.ndarray:
    """Return logits of two classes with these chances of the second."""
    chance = np.array(probabilities)
    return np.stack([np.zeros_like(chance), np.log(chance / (1 - chance))], axis=1)


def test_calibration_by_hand() -> None:
    """Two answers at 0.9, one of them right, and two at 0.8, both right: (2 x 0.4 + 2 x 0.2) / 4."""
    found = calibration(logits_of([0.9, 0.9, 0.8, 0.2]), np.array([1, 0, 1, 0]), "classification")
    assert found is not None
    assert found.error == pytest.approx(0.3)
    assert [(2, 0.8, 1.0), (2, 0.9, 0.5)] == [
        (one.count, pytest.approx(one.confidence), one.right) for one in found.bins
    ]


def test_bins_are_scikit_learns() -> None:
    """The reliability curve of the answer given, over fifteen bins of equal width."""
    generator = np.random.default_rng(0)
    logits, gold = generator.normal(size=(500, 3)) * 2, generator.integers(0, 3, 500)
    found = calibration(logits, gold, "classification")
    assert found is not None
    exponents = np.exp(logits)
    sure, right = (exponents / exponents.sum(1, keepdims=True)).max(1), logits.argmax(1) == gold
    shares, means = sklearn.calibration.calibration_curve(right, sure, n_bins=15)
    assert shares == pytest.approx([one.right for one in found.bins])
    assert means == pytest.approx([one.confidence for one in found.bins])


def test_a_model_that_knows_how_sure_it_is() -> None:
    """Answers that are right as often as they say have almost no error; overconfident ones have."""
    generator = np.random.default_rng(1)
    chance = generator.uniform(0.02, 0.98, 40_000)
    gold = (generator.uniform(size=40_000) < chance).astype(int)
    honest = calibration(logits_of(list(chance)), gold, "classification")
    boastful = calibration(3 * logits_of(list(chance)), gold, "classification")
    assert honest is not None and boastful is not None
    assert honest.error < 0.01 < 0.1 < boastful.error


def test_each_label_of_a_row_is_an_answer() -> None:
    """Multi-label: four answers, three right, all but certain; a regression has no confidence."""
    found = calibration(np.array([[20.0, -20.0], [20.0, 20.0]]), np.array([[1, 0], [1, 0]]), "multi-label")
    assert found is not None and found.error == pytest.approx(0.25)
    assert calibration(np.ones((2, 1)), np.ones(2), "regression") is None


def test_confusion_is_scikit_learns_mean() -> None:
    """Over three seeds."""
    generator = np.random.default_rng(2)
    gold, answers = generator.integers(0, 4, 100), [generator.integers(0, 4, 100) for _ in range(3)]
    expected = np.mean([sklearn.metrics.confusion_matrix(gold, one) for one in answers], axis=0)
    np.testing.assert_allclose(confusion(gold, answers, 4), expected)


def test_rows_that_most_seeds_get_wrong_come_first() -> None:
    """By the number of seeds, then by how little the gold class was thought of; right ones are left out."""
    gold = np.array([0, 0, 0, 1])
    first = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    second = np.array([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.6, 0.4]])
    found = often_wrong(gold, [first, second])
    assert [(2, 2, (1, 1)), (1, 2, (1, 1)), (3, 1, (1, 0))] == [(one.row, one.wrong, one.answers) for one in found]
    assert found[0].chance == pytest.approx(0.15)
    assert 1 == len(often_wrong(gold, [first, second], shown=1))

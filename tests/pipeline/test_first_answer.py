"""What a head answers before it has learnt anything."""

from __future__ import annotations

import numpy as np
import pytest

from bertwright.stages.learning import first_answer


def test_regression_begins_at_the_mean() -> None:
    """The mean squared error of a constant is least there."""
    assert [2.5] == first_answer(np.array([1.0, 2.0, 3.0, 4.0]), "regression").tolist()


def test_labels_begin_at_their_share_of_the_rows() -> None:
    """A quarter of the rows has the first label; none is taken to be impossible or certain."""
    labels = np.zeros((400, 3), dtype=np.int64)
    labels[:100, 0] = 1
    labels[:, 2] = 1
    found = 1 / (1 + np.exp(-first_answer(labels, "multi-label")))
    assert pytest.approx([0.25, 0.0, 1.0], abs=2e-3) == found
    assert ((0 < found) & (found < 1)).all()


def test_classes_begin_alike() -> None:
    """Classification starts at 0, as it does elsewhere."""
    assert not first_answer(np.array([0, 1, 1]), "classification").any()

"""What logits mean: answers, and how probable they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bertwright.errors import Diverged, InputError
from bertwright.tasks.answers import Columns, answers_of

LOGITS = np.random.default_rng(0).normal(0, 4, (50, 3)).astype(np.float32)
NAMES = ("no", "maybe", "yes")


def test_a_class_has_the_probability_of_softmax() -> None:
    """The label of the largest logit; probabilities as PyTorch gives them; huge logits stay finite."""
    found = answers_of(LOGITS, "classification", NAMES)
    expected = torch.softmax(torch.from_numpy(LOGITS), dim=-1).numpy()
    assert [NAMES[number] for number in expected.argmax(axis=1)] == found.prediction
    assert found.probabilities is not None
    np.testing.assert_allclose(expected, found.probabilities, rtol=1e-5)
    np.testing.assert_array_equal(found.probabilities.max(axis=1), found.probability)
    huge = answers_of(np.array([[1e30, 0, -1e30]], dtype=np.float32), "classification", NAMES)
    assert [[1, 0, 0]] == huge.probabilities.tolist()  # type: ignore[union-attr]


def test_several_labels_have_the_probability_of_exactly_these() -> None:
    """Labels above one half, and the product over all labels."""
    found = answers_of(LOGITS, "multi-label", NAMES)
    each = torch.sigmoid(torch.from_numpy(LOGITS)).numpy()
    assert [[n for n, p in zip(NAMES, row, strict=True) if p > 0.5] for row in each] == found.prediction
    np.testing.assert_allclose(each, found.probabilities, rtol=1e-5)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.maximum(each, 1 - each).prod(axis=1), found.probability, rtol=1e-5)  # type: ignore[arg-type]
    with np.errstate(over="raise"):
        assert [["no"]] == answers_of(np.array([[200, -200, -200]], np.float32), "multi-label", NAMES).prediction


def test_a_number_is_given_with_the_digits_it_has() -> None:
    """fp32's 0.9 is 0.9, which is the same fp32 again."""
    found = answers_of(np.array([[0.9], [-3.25], [1e-8]], dtype=np.float32), "regression", ("score",))
    assert ([0.9, -3.25, 1e-8], None) == (found.prediction, found.probability)


def test_a_logit_that_is_no_number_stops() -> None:
    """Arg-max would answer all the same."""
    with pytest.raises(Diverged, match="not finite for 1 of 1 rows"):
        answers_of(np.array([[np.nan, 0, 0]], dtype=np.float32), "classification", NAMES)


def test_cells_objects_and_arrow_columns_say_the_same() -> None:
    """Names with a prefix, a column for each label where cells are flat, and equal values."""
    columns = Columns("classification", NAMES, prefix="m_")
    found = answers_of(LOGITS, "classification", NAMES)
    flat = dict(zip(columns.names(flat=True), columns.cells(found)[7], strict=True))
    row = columns.objects(found)[7]
    assert ["m_prediction", "m_probability", "m_probability:no", "m_probability:maybe", "m_probability:yes"] == [*flat]
    assert row["m_prediction"] == flat["m_prediction"]
    assert row["m_probability"] == float(flat["m_probability"])
    assert row["m_probabilities"] == {name: float(flat[f"m_probability:{name}"]) for name in NAMES}
    arrays = [array[7].as_py() for array in columns.arrays(found)]
    assert row["m_prediction"] == arrays[0]
    assert [np.float32(p) for p in row["m_probabilities"].values()] == list(arrays[2].values())


def test_several_labels_in_a_cell_are_joined_as_the_task_does() -> None:
    """By the task's separator; no label is the task's word for that; a label with the separator in it is refused."""
    columns = Columns("multi-label", NAMES, separator="|", none_label="-")
    rows = answers_of(np.array([[1, -1, 1], [-1, -1, -1]], dtype=np.float32), "multi-label", NAMES)
    assert ["no|yes", "-"] == [cells[0] for cells in columns.cells(rows)]
    columns.check_joined()
    for bad in (Columns("multi-label", ("a;b",)), Columns("multi-label", ("-",), none_label="-")):
        with pytest.raises(InputError, match="cannot stand in a cell whose labels are parted by ';'; write jsonl"):
            bad.check_joined()

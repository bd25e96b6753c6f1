"""Weights of labels in the loss, and windows over long rows, against computations by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bertwright.errors import DataError, InputError
from bertwright.tasks.batches import averaged, encode, encode_windows, windows_of
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.task import Task
from bertwright.tasks.weights import label_weights
from bertwright.training.losses import LOSSES, WEIGHTED_LOSSES

CLASSES = LabelMap("classification", ("a", "b", "c"))
SEVERAL = LabelMap("multi-label", ("a", "b"))


class Letters:
    """A tokenizer whose tokens are letters."""

    cls_id, sep_id, pad_id = 1, 2, 0

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Return a number a letter."""
        return [[ord(letter) for letter in text] for text in texts]


class Given(nn.Module):
    """Answers every batch with the logits that it holds."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, _ids: Tensor, **_: object) -> Tensor:
        """Return them."""
        return self.logits


def gradient(kind: str, logits: list[list[float]], labels: Tensor, weights: np.ndarray) -> Tensor:
    """Return the gradient of the summed loss at the logits."""
    model = Given(logits)
    batch = {"ids": torch.zeros(len(logits), 1), "mask": None, "segments": None, "labels": labels, "count": len(logits)}
    found = WEIGHTED_LOSSES[kind](torch.tensor(weights).float())(model, batch)
    assert len(logits) == found.count
    found.total.backward()
    assert model.logits.grad is not None
    return model.logits.grad


def test_a_rows_gradient_is_its_labels_weight_times_the_plain_one() -> None:
    """By hand: with equal logits of three classes, w (p - y) is w (1/3, 1/3, -2/3)."""
    weights = np.array([0.5, 1.0, 3.0])
    found = gradient("classification", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], torch.tensor([2, 0]), weights)
    expected = torch.tensor([[1.0, 1.0, -2.0], [-1 / 3, 1 / 6, 1 / 6]])
    torch.testing.assert_close(found, expected)


def test_having_a_label_counts_by_its_weight_and_lacking_it_by_one() -> None:
    """By hand: at logit 0, -w/2 where the label is there and 1/2 where not, over the two labels of a row."""
    found = gradient("multi-label", [[0.0, 0.0]], torch.tensor([[1.0, 0.0]]), np.array([5.0, 7.0]))
    torch.testing.assert_close(found, torch.tensor([[-1.25, 0.25]]))


@pytest.mark.parametrize("kind", list(WEIGHTED_LOSSES))
def test_weights_of_one_change_nothing(kind: str) -> None:
    """The weighted loss is the plain one."""
    labels = torch.tensor([1, 0]) if kind == "classification" else torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    model = Given([[0.3, -2.0], [1.5, 0.1]])
    batch = {"ids": torch.zeros(2, 1), "mask": None, "segments": None, "labels": labels, "count": 2}
    found = WEIGHTED_LOSSES[kind](torch.ones(2))(model, batch).total
    torch.testing.assert_close(LOSSES[kind](model, batch).total, found)


def test_balanced_classes_weigh_alike_together() -> None:
    """Of 6, 3 and 1 rows each label weighs 10/3 over its rows together, and the mean weight of a row is 1."""
    numbers = np.array([0] * 6 + [1] * 3 + [2])
    weights = label_weights("balanced", CLASSES, numbers)
    np.testing.assert_allclose([10 / 18, 10 / 9, 10 / 3], weights)
    assert pytest.approx(1.0) == weights[numbers].mean()


def test_given_weights_are_against_each_other() -> None:
    """A label three times the others: (3, 1, 1) over the mean of 2 of the rows."""
    np.testing.assert_allclose([1.5, 0.5, 0.5], label_weights({"a": 3.0}, CLASSES, np.array([0, 0, 1, 2])))
    several = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    np.testing.assert_allclose([3.0, 1 / 3], label_weights("balanced", SEVERAL, several))
    np.testing.assert_allclose([2.0, 1.0], label_weights({"a": 2.0}, SEVERAL, several))
    assert 0 < label_weights("balanced", SEVERAL, np.ones((4, 2)))[0]


def test_weights_of_labels_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """With the labels there are; and a regression has none."""
    with pytest.raises(DataError, match=r"names 'd', which no training row has \(found: a, b, c\)"):
        label_weights({"d": 2.0}, CLASSES, np.array([0, 1, 2]))
    with pytest.raises(InputError, match="`class_weights` are of labels, and a regression has numbers"):
        Task("t", "regression", ("x",), "y", tmp_path, {}, ("spearman",), class_weights="balanced")


def test_a_long_row_becomes_windows_with_its_label() -> None:
    """By hand: nine letters in windows of four, three apart: 0, 3 and the last at 5; a short row stays one."""
    rows = encode_windows([("abcdefghi",), ("xy",)], np.array([7, 8]), Letters(), max_length=6, stride=3)
    texts = ["".join(map(chr, ids[1:-1])) for ids in rows.ids]
    assert ["abcd", "defg", "fghi", "xy"] == texts
    assert [7, 7, 7, 8] == rows.labels.tolist()
    assert rows.owners is not None
    assert ([0, 0, 0, 1], 0) == (rows.owners.tolist(), rows.cut)


def test_the_longer_half_of_a_pair_moves() -> None:
    """By hand: six tokens of room, two for the shorter half; where both are long, the shorter is cut to three."""
    rows = encode_windows([("ab", "12345678")], np.zeros(1), Letters(), max_length=9, stride=4)
    texts = ["".join(map(chr, ids)).replace("\x01", "").split("\x02")[:2] for ids in rows.ids]
    assert [["ab", "1234"], ["ab", "5678"]] == texts
    assert 0 == rows.cut
    both = encode_windows([("abcdef", "12345678")], np.zeros(1), Letters(), max_length=9, stride=4)
    texts = ["".join(map(chr, ids)).replace("\x01", "").split("\x02")[:2] for ids in both.ids]
    assert [["abc", "123"], ["abc", "456"], ["abc", "678"]] == texts
    assert 1 == both.cut


def test_a_rows_logits_are_the_mean_over_its_windows() -> None:
    """By hand, and as they are where no row has windows."""
    rows = encode_windows([("abcdefghi",), ("xy",)], np.zeros(2), Letters(), max_length=6, stride=3)
    logits = np.array([[1.0, 0.0], [2.0, 3.0], [6.0, 0.0], [9.0, 5.0]], dtype=np.float32)
    assert [[3.0, 1.0], [9.0, 5.0]] == averaged(logits, rows).tolist()
    plain = encode([("a",)], np.zeros(1), Letters(), max_length=6)
    assert logits is averaged(logits, plain)


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 60), width=st.integers(1, 20), stride=st.integers(1, 30))
def test_windows_leave_nothing_out(length: int, width: int, stride: int) -> None:
    """Every token is in a window, no window passes the end of a longer text, and none stands twice."""
    starts = windows_of(length, width, stride)
    assert set(range(length)) <= {place for start in starts for place in range(start, start + width)}
    assert all(start + width <= max(length, width) for start in starts)
    assert sorted(set(starts)) == starts


@settings(max_examples=50, deadline=None)
@given(first=st.integers(0, 5), second=st.integers(0, 5))
def test_short_rows_are_laid_out_as_without_windows(first: int, second: int) -> None:
    """Rows that fit are the same either way."""
    pair = [("a" * first, "b" * second)]
    one, other = (
        encode(pair, np.zeros(1), Letters(), max_length=14, separators=2),
        encode_windows(pair, np.zeros(1), Letters(), max_length=14, stride=2, separators=2),
    )
    assert one.ids[0].tolist() == other.ids[0].tolist()
    assert one.segments[0].tolist() == other.segments[0].tolist()

"""Policies: what they measure, when a row leaves, and what a fault is told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bertwright.errors import InputError
from bertwright.exits.measures import confidence, entropy
from bertwright.exits.policies import Policy, leaving, parse


def left(policy: Policy, logits: np.ndarray, scores: np.ndarray | None = None) -> list[list[bool]]:
    """Ask a policy at one ramp after the other, as inference does."""
    state = policy.begin(logits.shape[1])
    own = [None] * len(logits) if scores is None else list(scores)
    return [policy.decide(ramp, one, state, own[ramp]).tolist() for ramp, one in enumerate(logits)]


def test_entropy_is_in_nats() -> None:
    """A second opinion: scipy's entropy of scipy's softmax; ln C is the most."""
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 5
    expected = scipy.stats.entropy(scipy.special.softmax(logits, axis=-1), axis=-1)
    np.testing.assert_allclose(expected, entropy(logits), atol=1e-6)
    assert math.log(3) == pytest.approx(float(entropy(np.zeros((1, 3)))[0]), abs=1e-6)


def test_entropy_of_several_labels_is_the_mean_of_their_own() -> None:
    """A second opinion: each label as a distribution of two outcomes."""
    logits = np.random.default_rng(1).normal(size=(50, 3)) * 4
    chance = scipy.special.expit(logits)
    expected = scipy.stats.entropy(np.stack([chance, 1 - chance]), axis=0).mean(axis=-1)
    np.testing.assert_allclose(expected, entropy(logits, "multi-label"), atol=1e-6)


def test_the_surest_row_leaves() -> None:
    """Logits (200, 0) have entropy 0 and leave; in DeeBERT's code they gave NaN and never did."""
    assert [0.0] == entropy(np.array([[200.0, 0.0]])).tolist()
    assert [[True]] == left(parse("entropy:0.001"), np.array([[[200.0, 0.0]]]))


@given(
    arrays.arrays(np.float16, (4, 3), elements=st.floats(width=16)), st.sampled_from(["classification", "multi-label"])
)
def test_no_measure_is_ever_nan(logits: np.ndarray, kind: str) -> None:
    """Half-precision logits of any size, infinities and NaN among them, have finite measures in their spans."""
    assert (entropy(logits, kind) >= -1e-6).all()
    assert (entropy(logits, kind) <= math.log(2 if kind == "multi-label" else 3) + 1e-6).all()
    assert ((confidence(logits, kind) > 0) & (confidence(logits, kind) <= 1)).all()


@pytest.mark.parametrize("text", ["entropy:1.0", "confidence:0.4", "patience:1", "learned:0.1"])
def test_a_row_that_is_not_a_number_never_leaves(text: str) -> None:
    """It is left to the last exit, whatever the policy."""
    broken = np.tile([[np.nan, np.nan, np.nan], [np.nan, 50, 0]], (3, 1, 1))
    assert [[False] * 2] * 3 == left(parse(text), broken, np.ones((3, 2)))
    assert [[False]] * 3 == left(parse(text), broken[:, 1:], np.ones((3, 1)))


def test_thresholds_are_strict() -> None:
    """At the threshold itself a row stays."""
    assert [[False, True]] == left(parse("learned:0.5"), np.zeros((1, 2, 2)), np.array([[0.5, 0.75]]))
    assert [[False] * 2] == left(Policy("entropy", (float(np.float32(np.log(2))),)), np.zeros((1, 2, 2)))


def test_each_ramp_can_have_its_own_threshold() -> None:
    """The same logits leave at the second ramp, whose threshold is laxer; one of 0 need not be computed."""
    policy = parse("entropy:0,0.5,0.1")
    assert [[False], [True], [False]] == left(policy, np.tile([[[2.0, 0.0]]], (3, 1, 1)))
    assert [False, True, True] == [policy.looks_at(ramp) for ramp in range(3)]


def test_patience_counts_agreements_in_a_row() -> None:
    """By hand: answers 0 1 1 1 and 1 1 0 0; two agreements come at the fourth exit, and one at the second."""
    answers = np.array([[0, 1, 1, 1], [1, 1, 0, 0]]).T
    logits = np.eye(2)[answers]
    assert [[False, False]] * 3 + [[True, False]] == left(parse("patience:2"), logits)
    assert [[False, False], [False, True], [True, False], [True, True]] == left(parse("patience:1"), logits)


def test_patience_of_numbers_and_of_several_labels() -> None:
    """A change below the tolerance agrees; of several labels all have to."""
    numbers = np.array([1.0, 1.5, 1.52, 1.53]).reshape(4, 1, 1)
    assert [[False]] * 3 + [[True]] == left(parse("patience:2:0.05", "regression"), numbers)
    labels = np.array([[1.0, 1.0], [1.0, -1.0], [2.0, -3.0]]).reshape(3, 1, 2)
    assert [[False], [False], [True]] == left(parse("patience:1", "multi-label"), labels)


def test_the_state_of_some_rows_goes_on_without_the_others() -> None:
    """Rows that are packed away take nothing along from those that stay."""
    answers = np.random.default_rng(2).integers(0, 2, (5, 40))
    logits, policy = np.eye(2)[answers], parse("patience:2")
    keep = np.arange(0, 40, 3)
    state, part = policy.begin(40), policy.begin(40)
    for ramp in range(5):
        whole = policy.decide(ramp, logits[ramp], state)
        if ramp == 2:
            part = part.rows(keep)
        rows = keep if ramp >= 2 else np.arange(40)
        assert whole[rows].tolist() == policy.decide(ramp, logits[ramp][rows], part).tolist()


@pytest.mark.parametrize(
    "name", ["entropy:0.3", "confidence:0.8", "patience:2", "learned:0.6", "never", "entropy:0.1,0.9,0"]
)
def test_a_whole_set_leaves_as_its_rows_do(name: str) -> None:
    """What calibration computes for all rows at once is what inference decides ramp by ramp."""
    generator = np.random.default_rng(3)
    logits, scores = generator.normal(size=(3, 200, 3)) * 2, generator.random((3, 200))
    found = np.array(left(parse(name), logits, scores))
    expected = np.where(found.any(axis=0), found.argmax(axis=0), 3)
    assert expected.tolist() == leaving([parse("patience:1"), parse(name)], logits, scores)[1].tolist()


def test_rows_near_a_threshold_are_told() -> None:
    """Within 1e-5 on either side, and no further."""
    policy = parse("learned:0.5")
    state = policy.begin(4)
    policy.decide(0, np.zeros((4, 2)), state, np.array([0.5 - 8e-6, 0.5 + 8e-6, 0.51, 0.49], dtype=np.float32))
    assert [True, True, False, False] == state.near.tolist()
    patient = parse("patience:1")
    state = patient.begin(2)
    for ramp in range(2):
        patient.decide(ramp, np.array([[1.0, 1.0 + 1e-6, 0.0], [1.0, 2.0, 0.0]]), state)
    assert [True, False] == state.near.tolist()


@pytest.mark.parametrize(
    "text", ["entropy:0.2", "confidence:0.9", "patience:3", "learned:0.8", "never", "entropy:0.1,0.00001,2"]
)
def test_what_is_read_is_written_the_same(text: str) -> None:
    """A policy's text is what it was read from."""
    assert text == parse(f" {text} ").text
    assert "patience:2:0.1" == parse("patience:2:0.1", "regression").text


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("sometimes", "classification", "'sometimes' is not known; write one of entropy:0.2, confidence:0.9"),
        ("entropy", "classification", "has no threshold; write entropy:0.2"),
        ("never:1", "classification", "never has a threshold; write never"),
        (
            "entropy:low",
            "classification",
            "'low' is not a number, or numbers joined by commas; write such as entropy:0.2",
        ),
        ("entropy:nan", "classification", "expected finite numbers"),
        ("entropy:1:2:3", "classification", "has 3 colons, at most two are read"),
        ("entropy:0.1:2", "classification", "only patience takes one"),
        ("patience:1.5", "classification", "found 1.5, expected whole numbers of exits from 1 on"),
        ("patience:2", "regression", "write patience:2:0.1 for numbers and patience:2 for labels"),
        ("patience:2:-1", "regression", "found the tolerance -1, expected one above 0"),
        ("entropy:0.2", "regression", "needs probabilities, and a regression has none; use patience:2:0.1"),
    ],
)
def test_a_fault_says_what_to_write(text: str, kind: str, said: str) -> None:
    """Each message has what was found and what is read."""
    with pytest.raises(InputError) as caught:
        parse(text, kind)
    assert said in str(caught.value)


def test_a_policy_that_does_not_fit_the_ramps_is_refused() -> None:
    """Another number of thresholds than ramps, and scores that are not there."""
    with pytest.raises(InputError, match="2 thresholds for 5 ramps; give one for all, or 5"):
        parse("entropy:0.1,0.2").check(5, 3)
    with pytest.raises(InputError, match="needs ramps with a learned score"):
        parse("learned:0.9").check(5, 3)
    assert () == parse("learned:0.9").check(5, 3, scored=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entropy:0", "entropy:0 never lets a row leave: entropies lie between 0 and 1.099 nats for 3 classes"),
        ("entropy:1.2", "entropy:1.2 lets every row leave at the first ramp: entropies lie between 0 and 1.099"),
        ("entropy:0.1,2", "entropy:2 lets every row leave at ramp 2"),
        ("confidence:1", "confidence:1 never lets a row leave: confidences lie between 0.3333 and 1"),
        ("confidence:0.3", "confidence:0.3 lets every row leave at the first ramp"),
        ("patience:2", "patience:2 never lets a row leave: 2 ramps can agree 1 times in a row"),
        ("learned:-1", "learned:-1 lets every row leave at the first ramp: scores lie between 0 and 1"),
    ],
)
def test_thresholds_that_decide_nothing_are_told_with_numbers(text: str, said: str) -> None:
    """A threshold beyond what a measure can be is no mistake to stop for, but one to tell."""
    (found,) = parse(text).check(2, 3, scored=True)
    assert said in found


def test_usual_thresholds_have_no_caution() -> None:
    """Nothing is said of what may be either."""
    assert [()] * 5 == [
        parse(t).check(4, 3) for t in ("entropy:0.2", "confidence:0.9", "patience:3", "never", "entropy:1")
    ]


@pytest.mark.parametrize("kind", ["classification", "multi-label"])
@pytest.mark.parametrize("text", ["entropy:0.3", "confidence:0.8"])
def test_a_row_alone_is_decided_as_in_a_batch(text: str, kind: str) -> None:
    """One row is measured in plain numbers, a batch on arrays: the same decisions, the same rows near the threshold."""
    logits = (np.random.default_rng(11).normal(size=(300, 3)) * 4).astype(np.float32)
    logits[0], logits[1] = [np.inf, 0, 0], [1000, -1000, 0]
    policy = parse(text, kind)
    state = policy.begin(300)
    expected = policy.decide(0, logits, state)
    found, near = [], []
    for row in range(300):
        own = policy.begin(1)
        found.append(bool(policy.decide(0, logits[row : row + 1], own)[0]))
        near.append(bool(own.near[0]))
    assert (expected.tolist(), state.near.tolist()) == (found, near)
    assert 0 < sum(found) < 300

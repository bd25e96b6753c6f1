"""Metrics against scikit-learn and by hand; means, intervals and comparisons."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from bertwright.tasks.metrics import METRICS, decide, floor
from bertwright.tasks.statistics import compare, summarise


def score(metric: str, gold: list[float], predicted: list[float], positive: int | None = None) -> float | None:
    """Return a metric's value."""
    return METRICS[metric].compute(np.array(gold), np.array(predicted), positive).value


def test_classification_metrics_agree_with_scikit_learn() -> None:
    """Accuracy, F1, macro F1 and Matthews on drawn answers."""
    generator = np.random.default_rng(0)
    gold, predicted = generator.integers(0, 2, 200), generator.integers(0, 2, 200)
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(gold, predicted),
        "f1": sklearn.metrics.f1_score(gold, predicted, pos_label=0),
        "macro_f1": sklearn.metrics.f1_score(gold, predicted, average="macro"),
        "matthews": sklearn.metrics.matthews_corrcoef(gold, predicted),
    }
    found = {name: METRICS[name].compute(gold, predicted, 0).value for name in expected}
    assert pytest.approx(expected) == found


def test_multi_label_and_correlations_agree_with_their_libraries() -> None:
    """Micro F1 with scikit-learn, Pearson and Spearman with SciPy."""
    generator = np.random.default_rng(1)
    gold, predicted = generator.integers(0, 2, (50, 4)), generator.integers(0, 2, (50, 4))
    assert (
        pytest.approx(sklearn.metrics.f1_score(gold, predicted, average="micro"))
        == METRICS["micro_f1"].compute(gold, predicted, None).value
    )
    a, b = generator.normal(size=50), generator.normal(size=50)
    assert pytest.approx(scipy.stats.spearmanr(a, b)[0]) == METRICS["spearman"].compute(a, b, None).value
    assert pytest.approx(scipy.stats.pearsonr(a, b)[0]) == METRICS["pearson"].compute(a, b, None).value


def test_what_is_undefined_is_not_a_number() -> None:
    """One class, equal scores and no positives have no value, and say why."""
    assert score("matthews", [1, 1], [0, 1]) is None
    assert score("spearman", [1.0, 2.0], [3.0, 3.0]) is None
    assert score("pearson", [1.0, 1.0], [3.0, 4.0]) is None
    assert score("f1", [0, 0], [0, 0], positive=1) is None
    assert 0.0 == score("matthews", [0, 1], [1, 1])
    assert "counts as 0" in str(METRICS["matthews"].compute(np.array([0, 1]), np.array([1, 1]), None).note)


def test_floors_are_the_published_ones() -> None:
    """MRPC's dev set: all `equivalent` gives accuracy 68.38 and F1 81.22."""
    gold = np.array([0] * 279 + [1] * 129)
    assert pytest.approx(0.6838, abs=5e-5) == floor(gold, "classification", "accuracy", 0).value
    assert pytest.approx(0.8122, abs=5e-5) == floor(gold, "classification", "f1", 0).value


def test_answers_of_each_kind() -> None:
    """The largest logit, labels above one half, and the number itself."""
    logits = np.array([[0.1, 2.0], [1.0, -1.0]])
    assert [1, 0] == decide(logits, "classification").tolist()
    assert [[1, 1], [1, 0]] == decide(logits, "multi-label").tolist()
    assert [0.1, 1.0] == decide(logits, "regression").tolist()


def test_a_mean_has_its_interval_by_students_t() -> None:
    """Three seeds 1, 2, 3: mean 2, deviation 1, and 4.303 / sqrt(3) to each side; one seed has no interval."""
    found = summarise([1.0, 2.0, 3.0])
    assert (2.0, 1.0) == (found.mean, found.deviation)
    assert pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5)) == found.interval
    assert (5.0, None, None) == (summarise([5.0]).mean, summarise([5.0]).deviation, summarise([5.0]).interval)
    assert summarise([]).mean is None


def test_an_interval_keeps_to_what_a_score_can_be() -> None:
    """No accuracy is above 1: the interval of 0.9, 1.0, 0.95 ends there; a correlation may fall below 0."""
    found = summarise([0.9, 1.0, 0.95], least=METRICS["accuracy"].least, most=1.0)
    assert found.interval is not None
    assert (0.8258, 1.0) == (pytest.approx(found.interval[0], abs=1e-4), found.interval[1])
    low = summarise([0.01, -0.01, 0.0], least=METRICS["matthews"].least, most=1.0)
    assert low.interval is not None
    assert low.interval[0] < 0


def test_a_clear_difference_is_clear_and_none_is_not() -> None:
    """Ninety against sixty right of a hundred is clear of 0; two equal systems are not; chance is covered."""
    gold = np.zeros(100)
    good, bad = np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [60, 40])
    found = compare(gold, [good, good], [bad, bad], metric="accuracy")
    assert found is not None and found.clear
    assert pytest.approx(0.3) == found.difference
    assert found.interval[0] > 0.2
    same = compare(gold, [good], [good[::-1]], metric="accuracy")
    assert same is not None and not same.clear


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two systems that are right with chance 0.7 and 0.6: of 60 intervals nearly all hold 0.1."""
    generator, held = np.random.default_rng(0), 0
    for trial in range(60):
        first, second = (generator.random(300) >= 0.7).astype(int), (generator.random(300) >= 0.6).astype(int)
        found = compare(np.zeros(300), [first], [second], metric="accuracy", samples=300, seed=trial)
        assert found is not None
        held += found.interval[0] <= 0.1 <= found.interval[1]
    assert held >= 52


def seeds_apart(generator: np.random.Generator, spread: float) -> list[list[np.ndarray]]:
    """Return five seeds' answers, wrong where 1, of two systems right with chance 0.7 and 0.6 but for a seed's luck."""
    luck = generator.normal(0, spread, 5)
    return [[(generator.random(300) >= right + one).astype(int) for one in luck] for right in (0.7, 0.6)]


def test_seeds_that_both_ran_are_drawn_together() -> None:
    """What a seed does to both systems is no difference of theirs; where the seeds are other ones it may be."""
    first, second = seeds_apart(np.random.default_rng(0), 0.15)
    together = compare(np.zeros(300), first, second, metric="accuracy", same_seeds=True)
    apart = compare(np.zeros(300), first, second, metric="accuracy")
    assert together is not None and apart is not None
    assert (True, True) == (together.clear, together.same_seeds)
    assert (False, False) == (apart.clear, apart.same_seeds)
    assert together.difference == apart.difference
    width, wide = (one.interval[1] - one.interval[0] for one in (together, apart))  # type: ignore[operator]
    assert width < 0.7 * wide
    fewer = compare(np.zeros(300), first, second[:2], metric="accuracy", same_seeds=True, samples=10)
    assert fewer is not None and not fewer.same_seeds


def test_the_interval_covers_the_truth_where_seeds_are_drawn_together() -> None:
    """Of 60 intervals of systems that share each seed's luck nearly all hold the true 0.1."""
    generator, held = np.random.default_rng(0), 0
    for trial in range(60):
        first, second = seeds_apart(generator, 0.1)
        found = compare(np.zeros(300), first, second, metric="accuracy", same_seeds=True, samples=200, seed=trial)
        assert found is not None
        held += found.interval[0] <= 0.1 <= found.interval[1]  # type: ignore[operator]
    assert held >= 50


def test_samples_without_a_score_are_counted() -> None:
    """With one row of a rare class a third of the samples has no correlation, so nothing is said of the rest; with
    four, two in a hundred: their share is told."""
    rare = np.repeat([1, 0], [1, 59])
    found = compare(rare, [rare], [1 - rare], metric="matthews")
    assert found is not None
    assert ((None, None), False, 1000) == (found.interval, found.clear, found.samples + round(1000 * found.undefined))
    assert pytest.approx((59 / 60) ** 60, abs=0.05) == found.undefined
    few = np.repeat([1, 0], [4, 56])
    some = compare(few, [few], [1 - few], metric="matthews")
    assert some is not None and some.clear
    assert 0 < some.undefined < 0.05


def test_a_comparison_with_an_undefined_score_is_none() -> None:
    """Where one seed's metric has no value, no difference is made up."""
    gold = np.array([1.0, 2.0, 3.0])
    assert compare(gold, [gold], [np.ones(3)], metric="spearman") is None


def test_equal_scores_that_differ_by_rounding_are_not_clear() -> None:
    """Means of the same three shares, summed in another order, differ by a crumb; that is no difference."""
    gold, drawn, crumbs = np.ones(10), np.random.default_rng(0), 0
    seeds = [(drawn.random(10) < share).astype(float) for share in (0.1, 0.2, 0.3)]
    for seed in range(300):
        found = compare(gold, seeds, seeds, metric="accuracy", samples=1, seed=seed)
        if found is not None and 0 < abs(found.interval[0]) < 1e-12:
            crumbs += 1
            assert not found.clear
    assert crumbs

"""Thresholds with a promise: exact bounds, violations counted on known risks, words, faults; drift; savings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from bertwright.errors import Diverged, InputError
from bertwright.exits.answers import EveryExit, taken
from bertwright.exits.calibration import at_cost, calibrate, candidates, certified, risk_bound, rows_needed
from bertwright.exits.drift import drift
from bertwright.exits.policies import leaving, parse
from bertwright.exits.savings import exit_counts, expected_saving
from bertwright.exits.scores import ExitScores, scores_of
from bertwright.tasks.readers import Rows
from bertwright.tasks.scoring import ScoredSet
from bertwright.tasks.task import SetForm


def population(rows: int, *, seed: int, depth: int = 6, classes: int = 3) -> tuple[EveryExit, np.ndarray]:
    """Return rows whose exits grow surer and more often right with depth; early ones are at times surely wrong."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, classes, rows)
    ease = generator.normal(1.5, 1.5, rows)
    logits = generator.normal(0, 0.7, (depth, rows, classes))
    for layer in range(depth):
        logits[layer, np.arange(rows), gold] += ease + 0.7 * layer
    return EveryExit("classification", tuple(range(1, depth + 1)), logits.astype(np.float32)), gold


def numbers(rows: int) -> tuple[EveryExit, np.ndarray]:
    """Return a regression whose exits come nearer to the gold numbers."""
    generator = np.random.default_rng(5)
    gold = generator.normal(size=rows)
    logits = np.stack([gold + generator.normal(0, 1 / layer**2, rows) for layer in range(1, 7)])[..., None]
    return EveryExit("regression", tuple(range(1, 7)), logits.astype(np.float32)), gold


GRID = candidates("entropy", "classification", ramps=5, classes=3)


def test_half_a_percent_needs_598_rows() -> None:
    """Without a loss, at delta 0.05: 0.995 ** 598 is the first power below it; with losses, the first n that tests."""
    assert 598 == rows_needed(0.005, 0.05)
    assert 0.995**598 <= 0.05 < 0.995**597
    for losses in (1, 7):
        needed = rows_needed(0.005, 0.05, losses)
        chances = [scipy.stats.binom.cdf(losses, rows, 0.005) for rows in (needed - 1, needed)]
        assert chances[0] > 0.05 >= chances[1]
    needed = rows_needed(1e-7, 0.05, 1)
    assert needed > 40_000_000
    assert scipy.stats.binom.cdf(1, needed, 1e-7) <= 0.05 < scipy.stats.binom.cdf(1, needed - 1, 1e-7)


def test_the_bound_is_clopper_and_pearson_s() -> None:
    """A second opinion: scipy's exact one-sided interval."""
    for losses, rows in ((0, 598), (3, 700), (40, 100), (100, 100)):
        exact = scipy.stats.binomtest(losses, rows, alternative="less").proportion_ci(0.95, "exact").high
        assert exact == pytest.approx(risk_bound(losses, rows, 0.05))


def test_the_test_and_the_bound_say_the_same() -> None:
    """A number of losses passes if and only if its upper bound is within the promise; the first failure ends it."""
    counts = np.arange(30)[:, None]
    expected = [risk_bound(losses, 1000, 0.05) <= 0.01 for losses in range(30)]
    assert expected == [bool(one) for one in certified(counts, 1000, 0.01, 0.05)]
    assert [2, 0, 3] == certified(np.array([[0, 1, 9], [9, 0, 0], [0, 0, 0]]), 1000, 0.005, 0.05).tolist()


@pytest.mark.parametrize(("max_drop", "delta", "rows"), [(0.01, 0.05, 800), (0.03, 0.1, 400), (0.005, 0.05, 1500)])
def test_promises_are_kept_on_known_risks(max_drop: float, delta: float, rows: int) -> None:
    """Of 1,000 calibrations drawn from a population, at most delta + 2 standard errors choose too large a risk."""
    every, gold = population(20_000, seed=1)
    exits, answers = every.leaving(GRID), every.answers()
    right = answers == gold
    lost = np.stack([right[-1] & ~taken(right, one) for one in exits])
    risks = lost.mean(axis=1)
    assert risks[0] < max_drop < risks[-1]
    # A row is lost under a set of policies: draw how many rows have each such set, not the rows themselves.
    patterns, sizes = np.unique(lost, axis=1, return_counts=True)
    drawn = np.random.default_rng(2).multinomial(rows, sizes / sizes.sum(), size=1000)
    passed = certified(drawn @ patterns.T.astype(np.int64), rows, max_drop, delta)
    violations = np.mean([risks[:one].max(initial=0.0) > max_drop for one in passed])
    assert violations <= delta + 2 * (delta * (1 - delta) / 1000) ** 0.5
    # And it is no empty promise: most calibrations let rows leave early.
    assert np.median(passed) > 5


def test_the_certified_policy_saves_most_and_says_so() -> None:
    """The chosen one is the last that passed; the words hold the numbers of the rows."""
    every, gold = population(3000, seed=3)
    found = calibrate(every, gold, GRID, max_drop=0.01)
    right = every.answers() == gold
    losses = [int((right[-1] & ~taken(right, one)).sum()) for one in every.leaving(GRID)]
    last = int(certified(np.array(losses), 3000, 0.01, 0.05)) - 1
    assert (GRID[last], "certified", losses[last]) == (found.policy, found.basis, found.losses)
    # Its own exact bound is lower, but holds for a policy that was fixed before: these rows chose it by its losses.
    assert risk_bound(losses[last], 3000, 0.05) < 0.01 == found.bound < risk_bound(losses[last + 1], 3000, 0.05)
    assert f"exit wrong in {losses[last]}" in found.sentence
    assert "with probability 0.95 at most 1 % of such rows are lost" in found.sentence
    assert found.as_dict()["policy"] == found.policy.text
    assert found.counts == tuple(exit_counts(every.leaving([found.policy])[0], 6))


def test_too_few_rows_say_how_many_would_do() -> None:
    """300 rows certify no 0.5 %; the best as far as they show is named, and not called certified."""
    every, gold = population(300, seed=3)
    found = calibrate(every, gold, GRID, max_drop=0.005)
    assert "uncertified" == found.basis
    assert found.bound is None
    assert found.losses is not None and found.losses <= 0.005 * 300
    assert rows_needed(0.005, 0.05, found.losses) == found.needed
    assert "not enough data: 300 rows; 598 rows without a loss are needed to hold 0.5 %" in found.sentence
    assert f"The uncertified best is {found.policy.text}" in found.sentence


def test_a_strictest_policy_that_loses_is_told() -> None:
    """Enough rows, and even the strictest candidate loses too many."""
    every, gold = population(2000, seed=4)
    found = calibrate(every, gold, GRID[-5:], max_drop=0.001, delta=0.2)
    assert "uncertified" == found.basis
    assert f"nothing is certified: already {GRID[-5].text}, the strictest, lost" in found.sentence


def test_a_choice_by_cost_is_the_strictest_that_is_cheap_enough() -> None:
    """Its mean cost is within the limit, the one before is not; its risk is bounded for all candidates at once."""
    every, gold = population(3000, seed=3)
    costs = [1.0, 2.5, 4.0, 5.5, 7.0, 8.0]
    found = at_cost(every, gold, GRID, at_most=5.0, costs=costs)
    means = np.array(costs)[every.leaving(GRID)].mean(axis=1)
    place = GRID.index(found.policy)
    assert means[place] <= 5.0 < means[place - 1]
    assert 1 - means[place] / 8 == pytest.approx(found.saving)
    assert risk_bound(found.losses or 0, 3000, 0.05 / len(GRID)) == found.bound
    with pytest.raises(InputError, match="no policy costs at most 0.5 a row: the cheapest"):
        at_cost(every, gold, GRID, at_most=0.5, costs=costs)


def test_metrics_of_all_rows_are_estimated_and_called_so() -> None:
    """F1 and correlations are no counts of rows: a bootstrap, named as one, whose drop is that of the metric."""
    every, gold = population(600, seed=6)
    found = calibrate(every, gold, GRID, max_drop=0.02, metric="macro_f1")
    assert "estimate" == found.basis
    assert "Bootstrap estimate, not a certificate" in found.sentence
    assert found.losses is None
    assert found.bound is not None and found.bound <= 0.02
    patient = candidates("patience", "regression", ramps=5, classes=1, tolerance=0.2)
    correlation = calibrate(*numbers(400), patient, max_drop=0.01, metric="spearman")
    assert ("estimate", "spearman") == (correlation.basis, correlation.metric)
    assert correlation.saving > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gold": np.zeros(50, dtype=int)}, "all 50 calibration rows have the same label"),
        ({"gold": np.arange(40) % 3}, "40 labels for 50 calibration rows"),
        ({"policies": ()}, "0 policies to choose from"),
        ({"max_drop": 0.0}, "max_drop is 0; expected a share between 0 and 1"),
        ({"delta": 1.0}, "delta is 1; expected a chance"),
        ({"metric": "spearman"}, "metric 'spearman' is not one for classification; choose from accuracy, f1, macro_f1"),
    ],
)
def test_rows_that_tell_nothing_are_refused(change: dict[str, object], said: str) -> None:
    """One class, other labels than rows, no policies, shares that are none."""
    every, gold = population(50, seed=7)
    arguments = {"gold": gold, "policies": GRID, "max_drop": 0.1, **change}
    with pytest.raises(InputError) as caught:
        calibrate(every, **arguments)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_one_row_and_no_rows_are_refused() -> None:
    """Nothing follows from one row, and none cannot even be shaped."""
    every, gold = population(1, seed=7)
    with pytest.raises(InputError, match="1 calibration row, from which nothing follows.* 598"):
        calibrate(every, gold, GRID, max_drop=0.1)
    with pytest.raises(InputError, match="there are 0 rows"):
        population(0, seed=7)


def test_a_regression_without_a_metric_is_told_to_give_one() -> None:
    """A number is not right or wrong."""
    patient = candidates("patience", "regression", ramps=5, classes=1, tolerance=0.2)
    with pytest.raises(InputError, match="numbers are not right or wrong.*spearman"):
        calibrate(*numbers(50), patient, max_drop=0.1)


def test_logits_that_are_no_numbers_stop_a_calibration() -> None:
    """A broken exit is not calibrated around."""
    every, gold = population(50, seed=7)
    every.logits[2, 3] = np.nan
    with pytest.raises(Diverged, match="1 of 50 rows"):
        calibrate(every, gold, GRID, max_drop=0.1)


def test_several_labels_are_right_when_all_are() -> None:
    """By hand: an exit that misses one label of a row has lost it."""
    full, early = np.array([[3.0, -3.0], [3.0, 3.0]]), np.array([[3.0, 3.0], [3.0, 3.0]])
    every = EveryExit("multi-label", (1, 2), np.stack([early, full]))
    found = calibrate(every, np.array([[1, 0], [1, 1]]), [parse("entropy:0.5", "multi-label")], max_drop=0.9, delta=0.9)
    assert 1 == found.losses


@pytest.mark.parametrize("name", ["entropy", "confidence", "learned", "patience"])
@pytest.mark.parametrize("kind", ["classification", "multi-label"])
def test_candidates_go_from_strict_to_lax(name: str, kind: str) -> None:
    """Each lets leave, at no later exit, every row that the one before lets leave; each has its text."""
    generator = np.random.default_rng(8)
    grid = candidates(name, kind, ramps=5, classes=3)
    exits = leaving(grid, generator.normal(size=(5, 300, 3)) * 3, generator.random((5, 300)))
    assert (np.diff(exits, axis=0) <= 0).all()
    assert exits[0].sum() > exits[-1].sum()
    assert list(grid) == [parse(policy.text, kind) for policy in grid]


def test_expected_saving_has_the_right_sign() -> None:
    """By hand: 3 rows after 3 layers of 12 and 1 after 6: 1 - 15/48, where DeeBERT's code prints 15/48."""
    assert 1 - 15 / 48 == expected_saving(np.array([3, 1, 0]), [3, 6, 12])
    assert 0.75 == expected_saving(np.array([4, 0, 0]), [3, 6, 12])
    assert 0.0 == expected_saving(np.array([0, 0, 7]), [3, 6, 12])
    with pytest.raises(InputError, match="no row left at any exit"):
        expected_saving(np.zeros(3), [3, 6, 12])


def test_the_curve_goes_from_the_full_model_to_the_first_exit() -> None:
    """`never` has the last exit's score and no saving; a policy that lets all leave has the first one's."""
    every, gold = population(500, seed=9)
    rows, form = Rows(Path("dev"), (), (), ()), SetForm(("text",), "label", ("accuracy",))
    one = ScoredSet("dev", rows, gold, "classification", form, None, None, None)
    told = scores_of(ExitScores(one, every), [parse("never"), parse("entropy:0.3"), parse("entropy:2")], [])
    full, some, first = told["curve"]
    assert (0.0, told["scores"][-1]) == (full["saving"], full["score"])
    assert (1 - 1 / 6, told["scores"][0]) == (pytest.approx(first["saving"]), first["score"])
    assert 0 < some["saving"] < first["saving"]
    assert 500 == sum(some["counts"])


def test_what_a_chosen_policy_loses_has_an_interval_over_the_same_rows() -> None:
    """The difference is that of the scores; `never` loses nothing, on no drawn rows either."""
    every, gold = population(500, seed=9)
    rows, form = Rows(Path("dev"), (), (), ()), SetForm(("text",), "label", ("accuracy",))
    one = ScoredSet("dev", rows, gold, "classification", form, None, None, None)
    kept = [calibrate(every, gold, [parse(policy)], max_drop=0.2) for policy in ("never", "entropy:1.2")]
    told = scores_of(ExitScores(one, every), [parse("never")], kept)
    never, early = told["chosen"]
    assert (0.0, [0.0, 0.0]) == (never["difference"], never["interval"])
    assert early["score"] - told["scores"][-1] == pytest.approx(early["difference"])
    low, high = early["interval"]
    assert low < early["difference"] < high
    assert 0.1 > high - low


def test_drift_compares_the_exits_of_two_texts() -> None:
    """The same shares are no drift; others are, in words; the statistic is the textbook's G."""
    calm = drift([100, 300, 600], [52, 148, 300])
    assert not calm.drifted
    assert "no sign that this text differs" in calm.sentence
    moved = drift([100, 300, 600], [10, 100, 890])
    assert moved.drifted
    assert 0.29 == pytest.approx(moved.moved)
    assert "29.0 % of 1,000 new rows leave elsewhere" in moved.sentence
    assert "calibrate again on labelled rows of it" in moved.sentence
    table = np.array([[100, 300, 600], [10, 100, 890]])
    expected = table.sum(0) * table.sum(1, keepdims=True) / table.sum()
    assert 2 * float((table * np.log(table / expected)).sum()) == pytest.approx(moved.statistic)


def test_drift_is_rarely_told_of_like_texts() -> None:
    """Of 500 pairs drawn alike, rare exits among them, almost none is called drifted."""
    generator, shares = np.random.default_rng(10), [0.004, 0.3, 0.001, 0.6, 0.095]
    pairs = zip(generator.multinomial(400, shares, 500), generator.multinomial(300, shares, 500), strict=True)
    assert 3 > sum(drift(a, b).drifted for a, b in pairs)


def test_a_drift_too_small_to_matter_is_not_told() -> None:
    """Of two million rows a test sees a shift of one percent, which changes no decision."""
    found = drift([500_000, 500_000], [510_000, 490_000])
    assert found.p_value < 1e-9
    assert not found.drifted


def test_drift_needs_rows_and_the_same_exits() -> None:
    """No rows, or another number of exits, are faults; all rows at one exit are none."""
    with pytest.raises(InputError, match="a drift check needs rows"):
        drift([10, 10], [0, 0])
    with pytest.raises(InputError, match="3 exits on new text, 2 in the calibration"):
        drift([10, 10], [1, 1, 1])
    assert 1.0 == drift([50, 0], [40, 0]).p_value


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    """Other exits than layers, layers that do not rise, scores of another shape."""
    logits = np.zeros((3, 5, 2))
    with pytest.raises(InputError, match=r"expected \(E, n, C\) with E = 2"):
        EveryExit("classification", (1, 2), logits)
    with pytest.raises(InputError, match="expected rising numbers from 1"):
        EveryExit("classification", (1, 3, 2), logits)
    with pytest.raises(InputError, match=r"scores have the shape \(3, 5\); expected \(2, 5\)"):
        EveryExit("classification", (1, 2, 3), logits, np.zeros((3, 5)))

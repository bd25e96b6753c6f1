"""Schedules and budgets: golden numbers and their edges."""

from __future__ import annotations

import pytest

from bertwright.errors import InputError
from bertwright.training.budget import Budget
from bertwright.training.schedules import SCHEDULES, Schedule, elastic_step_decay, multiplier

ROOT = 2**-0.5


@pytest.mark.parametrize(
    ("step", "power"),
    [
        (0, 0),
        (8749, 0),
        (8750, 0),  # intervals are closed on the right: an integer boundary keeps the larger rate
        (8751, 1),
        (9116, 1),
        (9117, 2),
        (9375, 2),
        (9376, 3),
        (9558, 3),
        (9559, 4),
        (9687, 4),
        (9688, 5),
        (9922, 9),
        (9984, 13),
        (9991, 15),
        (9998, 19),
        (9999, 21),  # interval 25 holds no integer
    ],
)
def test_elastic_step_decay_falls_at_the_papers_boundaries(step: int, power: int) -> None:
    """With T = 10,000 each interval is 0.7071 as long and its rate 0.7071 as large (the paper's table)."""
    assert pytest.approx(ROOT**power) == elastic_step_decay(step, 10_000)


def test_elastic_step_decay_is_exact_for_budgets_in_microseconds() -> None:
    """Twenty minutes are 1.2e9 microseconds: 7/8 of them is a whole number, and the boundary sits on it."""
    total = 1_200_000_000
    assert [1.0, pytest.approx(ROOT), 0.0] == [
        elastic_step_decay(t, total) for t in (total * 7 // 8, total * 7 // 8 + 1, total)
    ]


def test_the_warm_up_is_not_part_of_the_schedules_time() -> None:
    """23,000 steps at 6 %: 1,380 rise, and the decay's T is 21,620, so that it starts to fall after 18,917 of them."""
    rates = [multiplier(Schedule("esd"), 1380 + t, 23_000, 0.06) for t in (0, 18_917, 18_918)]
    assert [1.0, 1.0, pytest.approx(ROOT)] == rates


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_rises_from_above_zero_to_its_peak(name: str) -> None:
    """The first step moves, the warm-up is a straight line, and no rate is above the peak or below zero."""
    rates = [multiplier(Schedule(name), step, 100, 0.1) for step in range(100)]
    assert pytest.approx([i / 10 for i in range(1, 11)]) == rates[:10]
    assert 1.0 == rates[10]
    assert all(0 < rate <= 1 for rate in rates)


def test_linear_and_cosine_at_known_points() -> None:
    """Half way, linear is at a half and so is cosine; at a quarter cosine is at (1 + cos 45 deg) / 2."""
    line, curve = Schedule("linear"), Schedule("cosine")
    assert [0.5, 0.75] == [line(50, 100), line(25, 100)]
    assert pytest.approx([0.5, (1 + ROOT) / 2, 0.0]) == [curve(50, 100), curve(25, 100), curve(100, 100)]


def test_cosine_restarts_at_the_peak() -> None:
    """Four cycles over 400 steps: each is the curve of 100 steps, and the end of the budget is at 0."""
    one, four = Schedule("cosine"), Schedule("cosine", cycles=4)
    assert pytest.approx([one(t % 100, 100) for t in range(400)]) == [four(t, 400) for t in range(400)]
    assert 0.0 == four(400, 400)


def test_polynomial_and_warmup_stable_decay_at_known_points() -> None:
    """Half way a square is at a quarter; WSD is flat up to its last fifth, and a quarter into that at 1 - sqrt(1/4)."""
    assert [0.25, 0.125] == [Schedule("polynomial")(50, 100), Schedule("polynomial", power=3.0)(50, 100)]
    stable = Schedule("wsd")
    assert [1.0, 1.0, 0.5, 0.0] == [stable(t, 1000) for t in (0, 800, 850, 1000)]
    assert [1.0, 0.5] == [Schedule("wsd", decay=1.0)(t, 100) for t in (0, 25)]


def test_budgets_count_in_whole_numbers() -> None:
    """Epochs become steps; seconds become microseconds."""
    assert [7, 25, 1_500_000, 100] == [
        Budget("steps", 7).total(None),
        Budget("epochs", 2.5).total(10),
        Budget("seconds", 1.5).total(None),
        Budget("tokens", 100).total(None),
    ]
    assert [3, 40, 2_500_000] == [
        Budget(unit, 1).done(steps=3, tokens=40, seconds=2.5) for unit in ("steps", "tokens", "seconds")
    ]


@pytest.mark.parametrize(("unit", "amount"), [("steps", 0), ("seconds", -1), ("fortnights", 2)])
def test_a_budget_of_nothing_is_refused(unit: str, amount: float) -> None:
    """Zero, less than zero, and an unknown unit say what was found."""
    with pytest.raises(InputError, match="found"):
        Budget(unit, amount)


def test_epochs_need_data_of_known_length() -> None:
    """A budget in epochs over endless data says what to use instead."""
    with pytest.raises(InputError, match="use steps, tokens or time"):
        Budget("epochs", 1).total(None)

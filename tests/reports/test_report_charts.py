"""Pictures: drawn from the log's numbers, readable on light and dark, said in words."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.reports.charts import charts, curves, score_chart, thinned
from bertwright.reports.records import RunRecords


def test_drawings_take_the_colour_of_the_page(whole_run: RunRecords) -> None:
    """Words and axes of an inline drawing have the page's colour, and its words are words."""
    for chart in charts(whole_run):
        assert "currentColor" in chart.svg
        assert not re.search("#0a0b0c|#000000|#ffffff", chart.svg)
        assert 'role="img" aria-label="' in chart.svg
    assert ">tokens seen<" in charts(whole_run)[0].svg


def test_log_of_one_row_is_drawn() -> None:
    """A training that was stopped after one step has its curves."""
    row = {"step": 1, "tokens": 128, "seconds": 0.5, "loss": 9.7, "learning_rate": 0.01, "norm": 2.0}
    names = ["loss_over_tokens", "loss_over_time", "learning_rate", "gradient_norm"]
    assert names == [chart.name for chart in curves([row])]


def test_what_was_not_logged_has_no_picture() -> None:
    """Rows of held-out loss alone give the loss curves and nothing else; no rows give nothing."""
    row = {"step": 1, "tokens": 128, "seconds": 0.5, "held_out_loss": 9.7}
    assert ["loss_over_tokens", "loss_over_time"] == [chart.name for chart in curves([row])]
    assert [] == curves([])


def test_averaging_of_a_long_log_is_told() -> None:
    """A log with more rows than a picture has points is averaged, and the caption says over how many rows."""
    rows = [{"tokens": step, "seconds": step / 10, "loss": 5.0} for step in range(1_000)]
    assert all("means of 3 rows" in chart.caption for chart in curves(rows))
    assert all("means of" not in chart.caption for chart in curves(rows[:400]))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3_000))
def test_thinning_keeps_a_straight_line(count: int) -> None:
    """Means over windows of a straight line lie on it, in order, and are few."""
    found = thinned(np.arange(count, dtype=float))
    assert len(found) <= 400
    assert np.all(np.diff(found) > 0)
    assert 0 <= found[0] <= found[-1] <= count - 1


def test_undefined_headline_has_no_dot(whole_run: RunRecords) -> None:
    """A task whose headline is undefined for all variants is left out of the picture; with no other, there is none."""
    record = next(r for r in whole_run.stages if r["name"] == "evaluate/similar")
    empty = {"values": [None], "mean": None, "deviation": None, "interval": None, "notes": ["constant predictions"]}
    variants = [{**v, "scores": {"dev": {"spearman": empty}}} for v in record["results"]["variants"]]
    stages = ({**record, "results": {**record["results"], "variants": variants}},)
    assert score_chart(dataclasses.replace(whole_run, stages=stages)) is None

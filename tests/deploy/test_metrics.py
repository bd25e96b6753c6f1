"""Metrics: the text that Prometheus reads, and the sum over workers."""

from __future__ import annotations

import pytest

from bertwright.deploy.metrics import Metrics, summed, text


def lines(metrics: Metrics) -> list[str]:
    """The page without its comments."""
    return [line for line in text(metrics.snapshot()).splitlines() if not line.startswith("#")]


def test_a_histogram_counts_up_to_each_bound() -> None:
    """A value on a bound lies within it; the buckets are sums; what is above the last is in +Inf."""
    metrics = Metrics()
    for value in (1, 2, 3, 1000):
        metrics.observe("batch_rows", value)
    assert [
        'bertwright_batch_rows_bucket{le="1"} 1',
        'bertwright_batch_rows_bucket{le="2"} 2',
        'bertwright_batch_rows_bucket{le="4"} 3',
    ] == lines(metrics)[:3]
    assert 'bertwright_batch_rows_bucket{le="256"} 3' in lines(metrics)
    assert [
        'bertwright_batch_rows_bucket{le="+Inf"} 4',
        "bertwright_batch_rows_sum 1006",
        "bertwright_batch_rows_count 4",
    ] == lines(metrics)[-3:]


def test_names_of_packs_are_escaped() -> None:
    """A quote, a backslash and a new line in a name break no line."""
    metrics = Metrics()
    metrics.count("rows_total", ('a"b\\c\nd',), by=2)
    assert ['bertwright_rows_total{pack="a\\"b\\\\c\\nd"} 2'] == lines(metrics)


def test_workers_are_summed_and_flags_are_not() -> None:
    """Counts, gauges and buckets add up; of a flag the largest is told."""
    one, two = Metrics(), Metrics()
    for metrics, drift in ((one, 0.5), (two, 1)):
        metrics.count("rows_total", ("a",), by=3)
        metrics.observe("wait_seconds", 0.003)
        metrics.put("queue_rows", 2)
        metrics.put("exit_drift", drift, ("a",))
    two.count("rows_total", ("b",))
    whole = summed([one.snapshot(), two.snapshot()])
    assert {("a",): [6.0], ("b",): [1.0]} == whole["rows_total"]
    assert ([4.0], [1.0]) == (whole["queue_rows"][()], whole["exit_drift"][("a",)])
    assert "bertwright_wait_seconds_count 2" in text(whole)


def test_a_series_has_the_labels_of_its_table() -> None:
    """A slip in the program is found where it is made."""
    with pytest.raises(ValueError, match="labels"):
        Metrics().count("rows_total")

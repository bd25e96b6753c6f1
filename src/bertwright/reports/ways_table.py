"""Each way of one task beside the others: what it gives, what it costs, as it was measured after the run."""

from __future__ import annotations

from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT, bytes_text, count_text


def ways_table(run: RunRecords) -> Table:
    """Return the ways of a task (``RunRecords.ways``); without rows where none were measured."""
    if run.ways is None:
        return Table("", (), ())
    sets = tuple(run.ways["sets"])
    columns = ("way", *sets, "trained parameters", "pack", "ms a row")
    rows = tuple(
        (
            way["name"],
            *(ABSENT if (score := way["accuracy"][part]) is None else f"{100 * score:.1f}" for part in sets),
            count_text(way["trained"]),
            ABSENT if way["pack_bytes"] is None else bytes_text(way["pack_bytes"]),
            f"{way['milliseconds']:.2f}",
        )
        for way in run.ways["ways"]
    )
    caption = (
        "Accuracy, means over seeds; one row at a time, from its text to its answer, on one thread. In batches "
        f"with other tasks' packs int8 takes {run.ways['mixed_milliseconds']:.2f} ms a row "
        f"({run.ways['mixed_rows']:,} rows)."
    )
    return Table(f"Every way of {run.ways['task']}", columns, rows, caption, numeric=frozenset(columns[1:]))

"""Every way of a task in one table: what was measured is shown, and nothing else."""

from __future__ import annotations

import dataclasses

from bertwright.reports.page import page
from bertwright.reports.records import RunRecords
from bertwright.reports.ways_table import ways_table

WAYS = {
    "task": "triage",
    "sets": ["dev", "ood"],
    "ways": [
        {
            "name": "pretrained",
            "accuracy": {"dev": 0.7215, "ood": None},
            "trained": 876_035,
            "pack_bytes": None,
            "milliseconds": 2.5,
        },
        {
            "name": "int8, mixed packs",
            "accuracy": {"dev": 0.58, "ood": 0.473},
            "trained": 22_659,
            "pack_bytes": 50_596,
            "milliseconds": 1.114,
        },
    ],
    "mixed_rows": 4_800,
    "mixed_milliseconds": 0.39,
}


def test_a_row_for_each_way(whole_run: RunRecords) -> None:
    """Points, counts, bytes and milliseconds as people read them; what is not there is a dash."""
    table = ways_table(dataclasses.replace(whole_run, ways=WAYS))
    assert ("way", "dev", "ood", "trained parameters", "pack", "ms a row") == table.columns
    assert ("pretrained", "72.2", "–", "876,035", "–", "2.50") == table.rows[0]
    assert ("int8, mixed packs", "58.0", "47.3", "22,659", "50.6 kB", "1.11") == table.rows[1]
    assert "0.39 ms a row (4,800 rows)" in table.caption


def test_the_page_has_it_where_it_was_measured(whole_run: RunRecords) -> None:
    """The overview ends with the table; a run without has no such part."""
    assert "Every way of triage" in page(dataclasses.replace(whole_run, ways=WAYS), [])
    assert "Every way of" not in page(whole_run, [])

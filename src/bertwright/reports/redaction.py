"""A report without a word of the user's rows: for those who may see scores, and not the text behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertwright.reports.records import RunRecords

# Where a stage's results hold text of rows or of documents, or words of them. What is left: numbers, settings, paths,
# and the names that the recipe, the files' columns, the labels and the groups have. Cards and comparisons read none of
# these keys, and a test says so.
_OF_ROWS = {
    "often_wrong": [],  # evaluate: rows that most seeds get wrong
    "down_weighted": [],  # finetune against a shortcut: examples
    "rescued": [],
    "repeated_lines": [],  # prepare: lines that come again
    "added": [],  # tokenizer: words that a vocabulary was extended by
    "shortcuts": [],  # words that give a label away
    "advice": "What was found is left out of this report.",
}
_NOTE = "Rows and words of the data are left out of this report, as was asked; the records in the store hold them"


def without_examples(run: RunRecords) -> RunRecords:
    """Return the records of a run without texts of its rows, and a note that says so."""
    stages = tuple({**record, "results": _cleared(record.get("results", {}))} for record in run.stages)
    return replace(run, stages=stages, notes=(*run.notes, _NOTE))


def _cleared(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _OF_ROWS[key] if key in _OF_ROWS else _cleared(one) for key, one in value.items()}
    return [_cleared(one) for one in value] if isinstance(value, list | tuple) else value

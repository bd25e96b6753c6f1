"""A search of a task's training rows for features that give the label away alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertwright.debias.expert_file import golds_of
from bertwright.debias.shortcuts import Found, find
from bertwright.stages.work import Work
from bertwright.tasks.readers import read_rows
from bertwright.tasks.task import Task

SHOWN = 20
"""How many of the features that were found are told."""


def shortcuts(work: Work) -> dict[str, Any]:
    """Search, and record the strongest that were found."""
    return facts_of(Task.from_options(work.options["task"], work.paths["train"], {}))


def facts_of(task: Task) -> dict[str, Any]:
    """Return what a task's training rows give away, as plain values."""
    rows = read_rows(task, task.train)
    found: Found = find(rows.texts, golds_of(rows), task.text)
    return {
        "task": task.name,
        **{name: getattr(found, name) for name in ("rows", "majority", "tests", "untested", "advice")},
        "found": len(found.shortcuts),
        "alone": [asdict(one) for one in found.alone],
        "shortcuts": [asdict(one) for one in found.shortcuts[:SHOWN]],
    }

"""In and out of distribution stand side by side, and rows that were learnt from are neither."""

from __future__ import annotations

from typing import Any

from bertwright.reports.debias_tables import debias_tables
from bertwright.reports.records import RunRecords
from bertwright.stages.work import LEARNT_FROM


def test_rows_learnt_from_are_not_out_of_distribution() -> None:
    """They are scored where a recipe asks for it, and have a table of their own."""
    names = ("dev", "ood", LEARNT_FROM)
    score = {"accuracy": {"values": [0.8], "mean": 0.8, "deviation": None, "interval": None}}
    known = {"accuracy": 0.6, "interval": [0.5, 0.7], "majority": 0.5, "confidence": 0.7, "sure_and_wrong": 0.1}
    of_sets = {name: {"metric": "accuracy", "score": 0.6} for name in names}
    expert = {"expert": "claim-only", "kind": "weak", "columns": None, "folds": 5, "train": known, "sets": of_sets}
    results: dict[str, Any] = {"task": "fever", "headline": {"set": "dev"}, "sets": {name: {} for name in names}}
    results |= {"variants": [{"variant": "given", "scores": dict.fromkeys(names, score)}], "experts": [expert]}
    run = RunRecords("run", "", ({"kind": "evaluate", "results": results},), {}, None, "", "")
    table = debias_tables(run, "fever")[0]
    assert ("variant", "dev (accuracy)", "ood (accuracy)") == table.columns
    assert ("expert claim-only", "60.0", "60.0") == table.rows[1]

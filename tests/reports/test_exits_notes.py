"""What the report says of early exits: runs of one variant are told together, and what sets them apart is kept."""

from __future__ import annotations

from typing import Any

from bertwright.reports.exits_notes import exits_notes
from bertwright.reports.records import RunRecords


def ramps(label: str, seed: int, *, basis: str = "certified", drifted: bool = False, more: str = "") -> dict[str, Any]:
    """Return the record of a run's ramps."""
    promise = {"basis": basis, "saving": 0.1 + 0.1 * seed, "delta": 0.05, "max_drop": 0.02, "sentence": f"said {seed}"}
    sets = {"dev": {"chosen": [{"drifted": drifted, "drift": f"drift {seed}"}]}}
    notes = [f"exits: said {seed}", *([f"exits on dev: drift {seed}"] if drifted else []), *([more] if more else [])]
    results = {"task": "t", "label": label, "seed": seed, "promises": [promise], "sets": sets, "notes": notes}
    return {"kind": "ramps", "name": f"ramps/t/{label}/seed-{seed}", "seconds": 1.0, "results": results}


def told(*records: dict[str, Any]) -> list[str]:
    """Return the notes of these records."""
    run = RunRecords(name="x", recipe_yaml="", stages=records, metrics={}, forecast={}, command="", created="")
    return list(exits_notes(run))


def test_one_run_is_told_by_its_own_sentences() -> None:
    """Its promise, and the set whose rows leave elsewhere."""
    assert ["t, a: exits: said 0", "t, a: exits on dev: drift 0"] == told(ramps("a", 0, drifted=True))


def test_runs_of_a_variant_are_told_together() -> None:
    """A range of savings, in how many runs a set differs, and what is of some seeds alone with these seeds."""
    found = told(ramps("a", 1, drifted=True), ramps("a", 0), ramps("b", 0), ramps("a", 2, more="exits: never"))
    assert 4 == len(found)
    assert found[0].startswith("t, a: exits have an expected saving of 10.0 % to 30.0 %; certified for 3 of 3 runs")
    assert "with probability 0.95 each leaves at most 2 % of rows wrong" in found[0]
    assert "t, a: seed 2: exits: never" == found[1]
    assert found[2].startswith("t, a: rows of dev leave elsewhere than the calibration rows did, in 1 of 3 runs")
    assert "t, b: exits: said 0" == found[3]


def test_what_is_not_certified_keeps_its_own_sentence() -> None:
    """An estimate of one seed is not told as the promise of the others."""
    found = told(ramps("a", 0), ramps("a", 1), ramps("a", 2, basis="uncertified"))
    assert "certified for 2 of 3 runs" in found[0]
    assert "t, a: seed 2: exits: said 2" == found[1]

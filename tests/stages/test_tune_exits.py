"""A policy chosen again, from what lies beside a run; no model is loaded for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit
from bertwright.stages.exiting import CALIBRATION, EXITS, write_calibration
from bertwright.stages.fine_tuned import FineTuned
from bertwright.stages.tune_exits import Wanted, _options, tune_exits


def write_task(folder: Path, kind: str) -> None:
    """Write what a run's folder says of its task."""
    task = {"task": "t", "kind": kind, "text": ["text"], "max_length": 8}
    (folder / "config.json").write_text("{}")
    (folder / "task.json").write_text(json.dumps({**task, "none_label": None, "label_separator": ";"}))


def test_a_regression_keeps_the_metric_that_it_was_calibrated_by(tmp_path: Path) -> None:
    """A task scored by Pearson's correlation is not held to Spearman's when its policy is chosen again."""
    write_task(tmp_path, "regression")
    (tmp_path / EXITS).write_text(json.dumps({"policy": "never", "metric": "pearson"}))
    gold = np.random.default_rng(0).normal(size=300)
    logits = np.stack([gold + 0.01 * exit for exit in range(3)])[:, :, None].astype(np.float32)
    write_calibration(tmp_path / CALIBRATION, EveryExit("regression", (1, 2, 3), logits), gold)
    found = tune_exits(tmp_path, Wanted(max_drop=0.1, tolerance=0.1), keep=False)
    assert ["pearson"] == [one.metric for one in found.options]


def test_policies_that_cannot_be_as_cheap_leave_the_others(tmp_path: Path) -> None:
    """Patience needs two exits that agree, so it never leaves at the first; entropy and confidence can."""
    draw = np.random.default_rng(0)
    every = EveryExit("classification", (1, 2, 3), draw.normal(size=(3, 60, 2)).astype(np.float32))
    task = FineTuned("t", "classification", ("text",), 8, None, ";")
    gold, seconds = draw.integers(0, 2, 60), (1.0, 2.0, 3.0)
    found = _options(every, gold, task, Wanted(at_most=1.2), seconds, None)
    assert {"entropy", "confidence"} == {one.policy.text.split(":")[0] for one in found}
    with pytest.raises(InputError, match="no policy costs at most 0.5 a row"):
        _options(every, gold, task, Wanted(at_most=0.5), seconds, None)


def test_a_regression_has_no_policy_by_latency(tmp_path: Path) -> None:
    """What is bounded there is a share of rows, which numbers have not."""
    write_task(tmp_path, "regression")
    with pytest.raises(InputError, match="give --max-drop, which is of its metric"):
        tune_exits(tmp_path, Wanted(at_most=1.0), keep=False)

"""A policy chosen again, from what lies beside a run; no model is loaded for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bertwright.exits.answers import EveryExit
from bertwright.stages.exiting import CALIBRATION, EXITS, write_calibration
from bertwright.stages.tune_exits import Wanted, tune_exits


def test_a_regression_keeps_the_metric_that_it_was_calibrated_by(tmp_path: Path) -> None:
    """A task scored by Pearson's correlation is not held to Spearman's when its policy is chosen again."""
    task = {"task": "t", "kind": "regression", "text": ["text"], "max_length": 8}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "task.json").write_text(json.dumps({**task, "none_label": None, "label_separator": ";"}))
    (tmp_path / EXITS).write_text(json.dumps({"policy": "never", "metric": "pearson"}))
    gold = np.random.default_rng(0).normal(size=300)
    logits = np.stack([gold + 0.01 * exit for exit in range(3)])[:, :, None].astype(np.float32)
    write_calibration(tmp_path / CALIBRATION, EveryExit("regression", (1, 2, 3), logits), gold)
    found = tune_exits(tmp_path, Wanted(max_drop=0.1, tolerance=0.1), keep=False)
    assert ["pearson"] == [one.metric for one in found.options]

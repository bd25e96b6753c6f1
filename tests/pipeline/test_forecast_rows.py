"""What a forecast measures of a task: steps as wide as rows are on average, and once as wide as the longest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bertwright
from bertwright.stages import measure

Toy = Callable[..., Path]


def test_memory_is_measured_on_the_longest_rows(tuned: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of the longest rows is what a run needs memory for; the mean row says how long it takes."""
    rows = (tmp_path / "train.jsonl").read_text().splitlines()
    long = {"text": " ".join(["balan"] * 40), "label": "high"}
    (tmp_path / "train.jsonl").write_text("\n".join([*rows, json.dumps(long), ""]))
    seen: list[tuple[int, int]] = []
    real = measure.measure_finetuning

    def watch(*given: Any, length: int, longest: int, **rest: Any) -> Any:
        seen.append((length, longest))
        return real(*given, length=length, longest=longest, **rest)

    monkeypatch.setattr(measure, "measure_finetuning", watch)
    bertwright.check(tuned(finetune={"max_length": 30, "baseline": False}))
    assert 30 in {longest for _, longest in seen}
    assert all(length < 20 for length, _ in seen)

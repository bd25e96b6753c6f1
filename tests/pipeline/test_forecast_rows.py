"""What a forecast measures of a task: steps as wide as rows are on average, and once as wide as the longest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bertwright
from bertwright.pipeline.check import check
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


def test_tasks_of_like_rows_share_a_measured_step(tuned: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a dozen small tasks wait longer for the forecast than for their work; a wider one is measured itself."""
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    made = []
    for number in range(6):
        words = " ".join(["balan"] * (6 - number % 3))
        longer = [{**row, "text": f"{row['text']} {words}"} for row in rows]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in longer))
        made.append(
            {"name": f"t{number}", "train": f"{number}.jsonl", "sets": {"dev": f"{number}.jsonl"}, "text": "text"}
        )
    seen: list[tuple[int, int]] = []
    told: list[float] = []
    real = measure.measure_finetuning

    def watch(*given: Any, length: int, longest: int, **rest: Any) -> Any:
        seen.append((length, longest))
        return real(*given, length=length, longest=longest, **rest)

    monkeypatch.setattr(measure, "measure_finetuning", watch)
    found = check(tuned(tasks=made, finetune={"baseline": False}), tell=told.append)
    assert len(seen) <= 4
    assert {f"t{n}" for n in range(6)} == {name.split("/")[1] for name in found.stages}
    assert 0.0 == told[0] and told == sorted(told) and told[-1] < 1

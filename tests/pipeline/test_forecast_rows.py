"""What a forecast measures of a task: steps as wide as rows are on average, and once as wide as the longest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bertwright
from bertwright.errors import StoreError
from bertwright.pipeline import real_steps
from bertwright.pipeline.check import check
from bertwright.stages import measure
from bertwright.store import Store

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


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the real steps that are taken, as they are."""
    seen: list[str] = []

    def watch(kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            seen.append(kind)
            return real(*given, **named)

        return step

    for kind in ("pretraining", "finetuning"):
        monkeypatch.setattr(measure, f"measure_{kind}", watch(kind, getattr(measure, f"measure_{kind}")))
    return seen


def test_a_run_takes_no_step_that_a_check_has_just_taken(toy: Toy, taken: list[str]) -> None:
    """It begins its work at once, and its forecast is what the check said."""
    path = toy()
    said = check(path)
    assert {"pretraining", "finetuning"} == set(taken)
    taken.clear()
    forecast = json.loads((bertwright.run(path).folder / "forecast.json").read_text())
    assert [] == taken
    assert said.stages["pretrain"]["memory_bytes"] == forecast["pretrain"]["memory_bytes"]


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda _one: [],
    "a number": lambda _one: 3,
    "no figures": lambda one: {"at": one["at"]},
    "no time": lambda one: {**one, "at": "noon"},
    "no number": lambda one: {**one, "micro_batch": float("nan")},
    "nothing": lambda one: {**one, "update": 0},
    "old": lambda one: {**one, "at": one["at"] - 86_400},
    "to come": lambda one: {**one, "at": one["at"] + 86_400},
}


@pytest.mark.parametrize("damage", [*DAMAGE, "cut"])
def test_steps_that_cannot_be_trusted_are_taken_again(
    tuned: Toy, tmp_path: Path, taken: list[str], damage: str
) -> None:
    """A damaged file, a damaged entry and one of yesterday are no fault: they are measured and written anew."""
    path = tuned(finetune={"baseline": False})
    check(path)
    once, file = len(taken), tmp_path / "bertwright-store" / "steps.json"
    steps = json.loads(file.read_text())
    damaged = None if damage == "cut" else {key: DAMAGE[damage](one) for key, one in steps.items()}
    file.write_text(file.read_text()[:60] if damaged is None else json.dumps(damaged))
    check(path)
    assert 2 * once == len(taken)
    check(path)
    assert 2 * once == len(taken)


def test_a_store_that_cannot_be_written_is_checked_against(
    tuned: Toy, tmp_path: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps are taken each time."""

    def refuse(path: Path, content: Any) -> None:
        raise StoreError(f"{path}: no permission to write")

    path = tuned(finetune={"baseline": False})
    Store(tmp_path / "bertwright-store")
    monkeypatch.setattr(real_steps.files, "write_json", refuse)
    once = [len(taken) for _ in range(2) if check(path)]
    assert once[1] == 2 * once[0] > 0


def test_a_step_is_taken_again_where_it_would_cost_something_else(tuned: Toy, taken: list[str]) -> None:
    """Other threads, another format and another batch are other steps."""
    counts = []
    for changes in ({}, {"threads": 2}, {"precision": "bf16"}):
        check(tuned(finetune={"baseline": False}, system=changes))
        counts.append(len(taken))
    check(tuned(finetune={"baseline": False, "batch": 8}))
    assert counts[0] < counts[1] < counts[2] < len(taken)


@pytest.fixture
def ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of fine-tuning takes ten seconds, without being taken; so 32 rows are answered in four."""
    cost = measure.StepCost(10.0, 1.0, 1000)
    monkeypatch.setattr(measure, "measure_finetuning", lambda *_given, **_named: cost)


def test_a_forecast_of_scores_counts_runs_alone(tuned: Toy, ten_seconds: None) -> None:
    """The encoder that packs belong to is one more input of the stage, and answers nothing."""
    finetune = {"baseline": False, "trainable": ["full", {"method": "bitfit", "learning_rate": 1e-3}]}
    seconds = check(tuned(finetune=finetune)).stages["evaluate/height"]["seconds"]
    assert 16 < seconds < 16 + 2


def test_a_forecast_of_scores_takes_as_many_training_rows_as_are_scored(
    tuned: Toy, tmp_path: Path, ten_seconds: None
) -> None:
    """Two thousand of them at most, which are 63 batches beside the one of the dev set, each as wide as its set."""
    rows = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "train.jsonl").write_text(rows * 100)
    finetune = {"baseline": False, "seeds": 1, "score_train": True}
    seconds = check(tuned(finetune=finetune)).stages["evaluate/height"]["seconds"]
    assert 0.8 * 64 * 4 < seconds < 64 * 4 + 2


def test_a_forecast_of_scores_takes_each_set_as_long_as_it_is(tuned: Toy, tmp_path: Path, ten_seconds: None) -> None:
    """One long row in a set of its own does not make the others longer."""
    rows = [json.loads(line) for line in (tmp_path / "dev.jsonl").read_text().splitlines()]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 100))
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": " ".join(["balan"] * 40), "label": "high"}) + "\n")
    task = {
        "name": "height",
        "train": "train.jsonl",
        "sets": {"dev": "dev.jsonl", "long": "long.jsonl"},
        "text": "text",
    }
    path = tuned(tasks=[task], finetune={"baseline": False, "seeds": 1, "max_length": 32})
    assert check(path).stages["evaluate/height"]["seconds"] < 0.8 * 75 * 4

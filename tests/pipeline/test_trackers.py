"""Trackers hear a pretraining's figures, where the user names them and not otherwise."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest

import bertwright
from bertwright.errors import InputError
from bertwright.pipeline.trackers import tracked

Toy = Callable[..., Path]


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_has_the_curves(toy: Toy) -> None:
    """Loss and held-out loss at their steps, equal to metrics.jsonl's; nothing is written where none is named."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = bertwright.pretrain(bertwright.load_recipe(toy(tasks=[]), ["system.trackers=tensorboard"]))
    events = EventAccumulator(str(result.folder / "trackers" / "toy"))
    events.Reload()
    rows = result.records.metrics["pretrain"]
    for name in ("loss", "held_out_loss"):
        expected = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in expected] == [step for step, _ in found]
        assert [value for _, value in expected] == pytest.approx([value for _, value in found])
    silent = bertwright.pretrain(bertwright.load_recipe(toy(tasks=[]), ["seed=1", "name=silent"]))
    assert not (silent.folder / "trackers").exists()


@pytest.mark.filterwarnings("ignore")
def test_what_another_process_trains_is_heard(toy: Toy) -> None:
    """Two ranks: the first one's news arrives in the process that started them."""
    heard: list[dict[str, Any]] = []
    recipe = bertwright.load_recipe(toy(tasks=[]), ["system.devices=2"])
    bertwright.pretrain(recipe, lambda name, fields: heard.append(fields) if name == "pretrain" else None)
    steps = [fields["step"] for fields in heard if fields.get("event") == "work" and "held_out_loss" in fields]
    assert [0, 6, 12] == steps


@pytest.mark.filterwarnings("ignore")
def test_a_tracker_hears_figures_at_their_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in for trackio's module, behind accelerate's tracker, in a process where accelerate has done nothing."""
    heard: list[Any] = []
    fake = types.ModuleType("trackio")
    fake.__spec__ = importlib.machinery.ModuleSpec("trackio", None)
    run = types.SimpleNamespace(log=lambda values, **_: heard.append(values), finish=lambda: heard.append("end"))
    fake.config = types.SimpleNamespace(update=lambda values, **_: heard.append(values))  # type: ignore[attr-defined]
    fake.init = lambda project, **_: heard.append(project) or run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", fake)
    accelerate.PartialState._reset_state()
    with tracked(["trackio"], "toy", tmp_path, {"batch": 8}) as trackers:
        trackers.tell({"step": 3, "loss": 2.5, "norm": None, "said": "something"})
        trackers.tell({"step": 4, "loss": 2.5, "phase": "head"})
    assert ["toy", {"batch": 8}, {"loss": 2.5}, "end"] == heard


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which package, and the line that installs it."""
    found = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "wandb" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with (
        pytest.raises(InputError, match=r'wandb cannot be imported here; `pip install "bertwright\[trackers\]" wandb`'),
        tracked(["wandb"], "x", tmp_path, {}),
    ):
        pass

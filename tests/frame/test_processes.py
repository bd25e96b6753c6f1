"""Processes behind ``submit``: whatever becomes of one call, the next has a process that is whole."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bertwright import door
from bertwright.errors import InputError, RunError
from bertwright.processes import Processes

WORK = """
import os

from bertwright.errors import Problem, RecipeError

def double(argument, tell):
    tell({"at": argument["value"]})
    return {"value": 2 * argument["value"]}

def refuse(argument, tell):
    raise RecipeError("recipe.yaml", [Problem("a.b", 3, "found 1, expected 2")])

def cut_off(argument, tell):
    for handle in range(3, 9):
        try:
            os.write(handle, b'["done", {"val')
        except OSError:
            pass
    os._exit(3)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Functions that a process finds by name."""
    (tmp_path / "work_of_a_test.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return importlib.import_module("work_of_a_test")


def test_who_listens_badly_does_not_spoil_the_next_call(work: ModuleType) -> None:
    """An answer that nobody took is not given to the next who asks."""

    def broken(_: dict[str, Any]) -> None:
        raise ValueError("nobody listens")

    with Processes(1) as processes:
        with pytest.raises(ValueError, match="nobody listens"):
            processes.submit(work.double, {"value": 1}, broken).result()
        assert {"value": 20} == processes.submit(work.double, {"value": 10}).result()


def test_an_answer_that_is_cut_off_is_the_process_s_end(work: ModuleType) -> None:
    """It is told as every death of a process is."""
    with Processes(1) as processes:
        with pytest.raises(RunError, match="a process ended with code 3"):
            processes.submit(work.cut_off, {}).result()
        assert {"value": 2} == processes.submit(work.double, {"value": 1}).result()


def test_a_fault_of_a_recipe_comes_out_of_a_process(work: ModuleType) -> None:
    """It is made of its problems and not of a sentence: it was a `TypeError` at the other end."""
    with Processes(1) as processes, pytest.raises(InputError, match="^recipe.yaml:3: a.b: found 1, expected 2$"):
        processes.submit(work.refuse, {}).result()


def test_processes_that_start_at_once_write_apart(work: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that are started again by two threads at one moment do not share a file of what they say."""
    opened: list[Path] = []
    together = threading.Barrier(2)
    first = door.opened_for

    def opened_for(path: Path) -> Any:
        opened.append(path)
        if len(opened) > 2:
            together.wait(60)
        return first(path)

    monkeypatch.setattr(door, "opened_for", opened_for)
    with Processes(2) as processes:
        for call in [processes.submit(work.cut_off, {}) for _ in range(2)]:
            with pytest.raises(RunError):
                call.result()
    assert 4 == len(opened) == len(set(opened))

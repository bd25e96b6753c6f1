"""Processes behind ``submit``: whatever becomes of one call, the next has a process that is whole."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bertwright.errors import RunError
from bertwright.processes import Processes

WORK = """
import os

def double(argument, tell):
    tell({"at": argument["value"]})
    return {"value": 2 * argument["value"]}

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

"""The examples and the notebook do what they say, at toy size: few rows, an encoder of two narrow layers."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bertwright.demo import write
from bertwright.pack import read

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
ROWS = 60


def example(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def few(make: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Return what makes a task's rows, some dozens of them at most."""
    return lambda *parts, count, **more: make(*parts, count=min(count, ROWS), **more)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Let the made-up language's tasks have some dozens of rows in place of hundreds, and no run a forecast."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("topic_rows", "similarity_rows", "inference_rows"):
            patch.setattr(write, name, few(getattr(write, name)))
        # Forecasts have tests of their own, and measure for longer than these examples work.
        patch.setattr("bertwright.pipeline.run._forecast", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all examples share, as a reader's would be."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def encoder(work: Path) -> Path:
    """The encoder that the first example leaves."""
    found = example("pretrain_and_classify").main(work, toy=True)
    assert isinstance(found, Path)
    return found


@pytest.fixture(scope="module")
def packs(work: Path, encoder: Path) -> dict[str, Path]:
    """The packs that another leaves."""
    found: dict[str, Path] = example("many_tasks_one_encoder").main(work, encoder, toy=True)
    return found


def test_there_are_six_of_a_page() -> None:
    """Each is 20 to 60 lines, says how it is run, and can be."""
    assert 6 == len(SCRIPTS)
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert 20 <= text.count("\n") <= 60, path.name
        assert f"python examples/{path.name} WORK" in text
        assert "if __name__" in text


def test_pretrain_and_classify(encoder: Path, capsys: pytest.CaptureFixture[str], work: Path) -> None:
    """It leaves an encoder; the second call finds all done and prints the scores."""
    assert (encoder / "config.json").is_file()
    capsys.readouterr()
    example("pretrain_and_classify").main(work, toy=True)
    assert "pretrained: accuracy" in capsys.readouterr().out


def test_many_tasks_one_encoder(packs: dict[str, Path]) -> None:
    """Two packs for one encoder."""
    assert ["topic", "inference"] == [read(path).task.name for path in packs.values()]
    assert 1 == len({read(path).backbone.hash for path in packs.values()})


@pytest.mark.long
def test_compare_methods(work: Path, encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three methods, and what each of them trains."""
    means = example("compare_methods").main(work, encoder, toy=True)
    assert ["given-bitfit", "given-full", "given-head"] == list(means)
    assert "given-bitfit minus given-head" in capsys.readouterr().out


@pytest.mark.long
def test_fight_a_shortcut(work: Path, encoder: Path) -> None:
    """Scores of both methods on both sets."""
    means = example("fight_a_shortcut").main(work, encoder, toy=True)
    assert {"given-full", "given-full-guided"} == set(means)
    assert all({"dev", "ood"} == set(own) for own in means.values())


@pytest.mark.long
def test_leave_early(work: Path, encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run with ramps, of which no row leaves under `never` and some may under a threshold."""
    run = example("leave_early").main(work, encoder, toy=True)
    assert (run / "ramps.safetensors").is_file()
    assert "never: 2.00 layers a row" in capsys.readouterr().out


def test_deploy(work: Path, packs: dict[str, Path]) -> None:
    """An export that answers a row of each pack with one of its labels."""
    found = example("deploy").main(work, list(packs.values()))
    assert all(label in read(path).task.labels for label, path in zip(found, packs.values(), strict=True))


@pytest.mark.long
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All code cells of the tour, one after the other; it is kept without outputs."""
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    assert (4, 5) == (notebook["nbformat"], notebook["nbformat_minor"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all([] == cell["outputs"] and cell["execution_count"] is None for cell in cells)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "BERTWRIGHT_TOUR", "toy")
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert (names["run"] / "config.json").is_file()

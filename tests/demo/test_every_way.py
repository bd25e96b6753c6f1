"""The demo's last table, on a demo that hardly learns: every way is there, and int8 answers as BitFit does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bertwright
from bertwright.demo.write import write_demo
from bertwright.pipeline.every_way import SERVED, close
from bertwright.pipeline.results import WAYS, Result, records_of
from bertwright.recipe.reading import load_recipe

SMALLER = {
    "width: 128\n  inner: 512": "layers: 2\n  width: 16\n  inner: 32\n  heads: 2",
    "800k tokens": "4 steps",
    "epochs: 6": "epochs: 0.1",
    "epochs: 12": "epochs: 0.1",
    "epochs: 8": "epochs: 0.1",
    "width: 128, folds: 2": "width: 16, heads: 2, folds: 2",
    "seeds: 3": "seeds: 1",
    "timed_rows: 32": "timed_rows: 2",
}


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The demo's folder, and what its recipe left with all numbers made small."""
    folder = tmp_path_factory.mktemp("demo")
    recipe = write_demo(folder, documents=200)
    text = recipe.read_text()
    for large, small in SMALLER.items():
        assert large in text
        text = text.replace(large, small)
    recipe.write_text(text)
    return folder, bertwright.run(recipe)


def test_every_way_stands_in_table_and_report(done: tuple[Path, Result]) -> None:
    """Six ways with times; BitFit in int8 scores as in torch, up to a row or two; the report's page shows them."""
    folder, before = done
    after = close(before, folder, lambda _: None)
    assert after.records.ways is not None
    ways = {way["name"]: way for way in after.records.ways["ways"]}
    assert ["untrained", "pretrained", "BitFit", "debiased", "early exit", "int8, mixed packs"] == list(ways)
    assert all(way["milliseconds"] > 0 for way in ways.values())
    for part in ("dev", "ood"):
        assert pytest.approx(ways["BitFit"]["accuracy"][part], abs=0.01) == ways["int8, mixed packs"]["accuracy"][part]
    assert ways["BitFit"]["trained"] < ways["pretrained"]["trained"] < ways["early exit"]["trained"]
    assert (folder / SERVED / "export.json").is_file()
    assert after.report is not None
    assert "int8, mixed packs" in after.report.read_text()


def test_the_table_is_not_measured_again_nor_shown_for_other_runs(done: tuple[Path, Result]) -> None:
    """Given again it stays as it is; once the scores are another stage's, it is left out."""
    folder, before = done
    first = close(before, folder, lambda _: None)
    assert first.records.ways == close(first, folder, pytest.fail).records.ways
    path, recipe = before.folder / WAYS, load_recipe(folder / "recipe.yaml")
    assert first.records.ways == records_of(recipe, before.stages, {}, "").ways
    path.write_text(json.dumps({**json.loads(path.read_text()), "of": "another"}))
    assert records_of(recipe, before.stages, {}, "").ways is None

"""Guides work when followed: their code runs as it stands, and the places that they name are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertwright.encoder import config, heads
from bertwright.encoder.names import NAMES
from bertwright.exits.policies import RULES
from bertwright.tasks.catalogue import CATALOGUE
from bertwright.training.losses import LOSSES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]


TABLES: list[dict[str, Any]] = [NAMES, heads.ACTIVATIONS, RULES, CATALOGUE, LOSSES]


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take away again what a guide adds."""
    monkeypatch.setattr(config, "FAMILIES", config.FAMILIES)
    copies = [dict(table) for table in TABLES]
    yield
    for table, copy in zip(TABLES, copies, strict=True):
        table.clear()
        table.update(copy)


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("part", PARTS, ids=[part.splitlines()[0] for part in PARTS])
def test_a_guide_works_when_followed(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part's code runs from top to bottom, and checks itself."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, part.splitlines()[0], "exec"), names)
    assert any("assert" in block for block in blocks)


def test_the_places_that_it_names_are_there() -> None:
    """Every file that the page tells to change exists, and so does every table that it names there."""
    for name in re.findall(r"`([\w/]+\.py)`", PAGE):
        place = ROOT / name if name.startswith("tests/") else ROOT / "src/bertwright" / name
        assert place.is_file(), name
    named = re.findall(r"`([A-Z_]{5,})` of\s+`([\w/]+\.py)`", PAGE)
    assert {"FAMILIES", "ACTIVATIONS", "LOSSES", "OPTIONS", "EXPERT_LOSSES", "METRICS"} == {table for table, _ in named}
    for table, name in named:
        assert re.search(rf"^{table}\b", (ROOT / "src/bertwright" / name).read_text(), re.MULTILINE), (table, name)

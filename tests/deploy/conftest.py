"""Toy encoders as exported folders, and servers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Toy encoders and packs are those of the packs' tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "pack"))

from toy_exports import MakeToy, Toy, toy
from toy_runtime import ToyRuntime, toy_pack
from toy_server import Served, Start

from bertwright.deploy import listener
from bertwright.deploy.server import Service
from bertwright.deploy.settings import ServeSettings


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> MakeToy:
    """Return a function that exports a toy encoder with three packs; the same call gives the same folder."""
    made: dict[str, Toy] = {}

    def make(family: str = "bert", **changes: object) -> Toy:
        key = f"{family} {sorted(changes.items())}"
        if key not in made:
            made[key] = toy(tmp_path_factory.mktemp("toy") / "export", family, **changes)
        return made[key]

    return make


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts servers; packs `mood` (one text) and `pair` (two) are there."""
    monkeypatch.setattr(listener, "_LAST_WORDS", 0.0)
    running: list[Served] = []

    def begin(
        pause: float = 0.0,
        folder: Path | None = None,
        token: str | None = None,
        hosts: Any = None,
        runtime: Any = None,
        **limits: Any,
    ) -> Served:
        engine = runtime or ToyRuntime(pause)
        if runtime is None:
            engine.add(toy_pack(1), "mood")
            engine.add(toy_pack(2, labels=("same", "near", "far"), columns=2), "pair")
        settings = ServeSettings(**{"drain": 0.0, "poll": 0.05, **limits})
        service = Service(engine, settings, packs=folder)
        running.append(Served(service, token=token, hosts=hosts))
        return running[-1]

    yield begin
    for one in running:
        one.stop()

"""Losses against a shortcut through the whole road: experts, their signals, runs, records, and what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import bertwright
from bertwright.pipeline.plan import plan
from bertwright.reports.debias_tables import debias_tables
from conftest import sentence

Toy = Callable[..., Path]
CLAIM = {"claim-only": {"kind": "partial-input", "columns": ["claim"], "folds": 3}}
ONE = {"baseline": False, "seeds": 1, "epochs": 1, "learning_rate": 1e-2}


@pytest.fixture
def pairs(tuned: Toy, tmp_path: Path) -> Callable[..., Path]:
    """As ``tuned``, on pairs whose claim gives the label away in train and dev, and not in ``odd``."""
    draw = random.Random(2)
    for name, count in (("train", 48), ("dev", 24), ("odd", 24)):
        rows = []
        for number in range(count):
            label = ("no", "yes")[number % 2]
            part = 24 * ((number % 2) if name != "odd" else draw.randrange(2))
            rows.append({"evidence": sentence(draw, 0, 48), "claim": sentence(draw, part, part + 24), "label": label})
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(trainable: Any, experts: Any = CLAIM, *, task: Any = None, **fields: Any) -> Path:
        own = {
            "name": "facts",
            "train": "train.jsonl",
            "sets": {"dev": "dev.jsonl", "odd": "odd.jsonl"},
            "text": ["evidence", "claim"],
            **(task or {}),
        }
        changes = {"finetune": {**ONE, **fields, "trainable": trainable, "experts": experts}, "tasks": [own]}
        return tuned(**changes)

    return write


EVERY = [
    "full",
    *(
        {"method": "full", "loss": loss, "expert": "claim-only"}
        for loss in ("poe", "poe-ce", "reweight", "confidence", "guided", "guide-the-learner-fever")
    ),
    {"method": "full", "loss": {"name": "poe-e2e", "columns": "claim"}},
    {"method": "bitfit", "loss": {"name": "dfl-e2e", "columns": "claim"}},
]


def test_every_loss_goes_all_the_way(pairs: Toy) -> None:
    """A run of each, its examples, an ordinary model without a bias head, scores beside plain cross entropy."""
    result = bertwright.run(pairs(EVERY))
    found = result.stages["evaluate/facts"].record["results"]
    assert 9 == len(found["variants"])
    assert "given-full-guided" in [one["variant"] for one in found["variants"]]
    runs = {name.split("/")[2]: one for name, one in result.stages.items() if name.startswith("finetune/")}
    assert "against" not in runs["given-full"].record["results"]
    told = runs["given-full-guided"].record["results"]["against"]
    assert 48 == told["rows"]
    assert 0 < told["rho"] < 1
    table = pq.read_table(runs["given-full-guided"].folder / "examples.parquet")
    assert 48 == table.num_rows
    assert {"id", "text", "gold", "p_main", "p_expert", "rho", "weight", "loss", "loss_poe", "loss_ce"} <= set(
        table.column_names
    )
    assert told["losses"]["loss"] == pytest.approx(np.mean(table["loss"].to_numpy()), rel=1e-5)
    for name in ("given-full-poe-e2e", "given-full-guided"):
        assert (runs[name].folder / "model" / "config.json").is_file()
    assert (runs["given-bitfit-dfl-e2e"].folder / "task.pack").is_file()
    titles = {table.title: table for table in debias_tables(result.records, "facts")}
    assert 10 == len(titles["In and out of distribution: facts"].rows) - 1
    assert ("given/claim-only", "partial-input", "claim", "3") == titles["Experts: facts"].rows[0][:4]
    assert titles["Examples that count least: facts"].rows
    assert (result.folder / "figures" / "guidance.png").is_file()


def test_plain_cross_entropy_is_what_it_was(pairs: Toy) -> None:
    """Its identity does not hang on methods beside it, and its options have no new key."""
    alone, named, beside = (
        {one.name: one for one in plan(bertwright.load_recipe(pairs(methods, experts)))}
        for methods, experts in (("full", {}), ({"method": "full", "loss": "ce"}, {}), (EVERY, CLAIM))
    )
    plain = alone["finetune/facts/given/seed-0"]
    assert plain.identity == beside["finetune/facts/given-full/seed-0"].identity
    assert plain.identity == named["finetune/facts/given/seed-0"].identity
    assert not {"loss", "expert", "attributing", "bias_columns", "experts", "shortcuts"} & set(plain.options)
    assert {"encoder", "tokenizer"} == set(plain.inputs)
    assert alone["evaluate/facts"].identity == named["evaluate/facts"].identity

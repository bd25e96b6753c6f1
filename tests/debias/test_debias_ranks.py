"""The guided loss on two processes, in micro-batches and alone: one training, whoever does it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_debias import batch, classifier, cut

import bertwright
from bertwright.debias.objective import objective
from bertwright.encoder.models import Classifier
from bertwright.recipe.debias_settings import Settings
from bertwright.training import trainable
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence
from bertwright.training.loop import train
from bertwright.training.optimizers import Optimizer
from bertwright.training.optimizers import Settings as OptimizerSettings
from bertwright.training.order import Place
from bertwright.training.ranks import Ranks, start
from bertwright.training.schedules import Schedule

ROWS = 6


class Steps:
    """Six rows a step, drawn from the step's number, with an expert's signals beside them."""

    steps_per_epoch = 4

    def __init__(self, micro_batch: int) -> None:
        self.micro_batch = micro_batch

    def rows(self, place: Place) -> int:
        """Return the rows of a step."""
        return ROWS

    def step(self, place: Place, rank: int, world: int) -> list[Mapping[str, Any]]:
        """Return a rank's micro-batches of a step: its part of the rows, one behind the other."""
        whole, share = batch(ROWS, seed=place.row // ROWS), ROWS // world
        firsts = range(rank * share, (rank + 1) * share, self.micro_batch)
        return [cut(whole, first, min(first + self.micro_batch, (rank + 1) * share)) for first in firsts]


def learnt(folder: Path, trained: str, ranks: Ranks, micro_batch: int) -> torch.Tensor:
    """Train all weights, or biases and the head, for eight steps; return what was learnt."""
    folder.mkdir(parents=True, exist_ok=True)
    model: Classifier = classifier()
    some = {name: None for name, _ in model.named_parameters() if trained == "full" or name.endswith("bias")}
    trainable.freeze_others(model, some)
    named = [(name, part) for name, part in model.named_parameters() if name in some]
    train(
        model,
        Steps(micro_batch),
        objective(Settings("guided", alpha=0.3, beta=0.5)),
        # Plain steps: what Adam makes of rounding in the gradient of a key's bias is no part of this.
        Optimizer(named, name="sgd", settings=OptimizerSettings(0.05, 0.0, momentum=0.0)),
        schedule=Schedule("linear"),
        warmup=0.0,
        budget=Budget("steps", 8),
        clip=1.0,
        seed=3,
        ranks=ranks,
        folder=folder,
        metrics=folder / "metrics.jsonl",
        cadence=Cadence(Budget("steps", 8)),
    )
    return torch.cat([part.detach().reshape(-1) for _, part in named])


def rank(argument: Mapping[str, Any]) -> None:
    """Train as one of two; the first writes what was learnt."""
    torch.set_num_threads(1)
    ranks, folder = Ranks.from_environment(), Path(argument["folder"])
    found = learnt(folder, argument["trained"], ranks, ROWS)
    if ranks.rank == 0:
        (folder / "learnt.json").write_text(json.dumps(found.tolist()))


@pytest.mark.parametrize("trained", ["full", "bitfit"])
def test_two_ranks_and_micro_batches_learn_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: str
) -> None:
    """Two gloo processes, and micro-batches of two rows, leave one process's weights; attributions wipe no gradient."""
    source = Path(bertwright.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(one) for one in (Path(__file__).parent, source)))
    whole = learnt(tmp_path / "one", trained, Ranks(), ROWS)
    begun = classifier().named_parameters()
    before = torch.cat([part.reshape(-1) for name, part in begun if trained == "full" or name.endswith("bias")])
    assert not torch.allclose(whole, before, atol=1e-3)
    torch.testing.assert_close(whole, learnt(tmp_path / "parts", trained, Ranks(), 2), atol=1e-5, rtol=1e-4)
    start(2, "test_debias_ranks:rank", {"folder": str(tmp_path / "two"), "trained": trained}, threads=2)
    two = torch.tensor(json.loads((tmp_path / "two" / "learnt.json").read_text()))
    torch.testing.assert_close(whole, two, atol=1e-5, rtol=1e-4)

"""The numbers of Figure 1 of Guide the Learner: the loss against the main model's gold logit, drawn from our losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bertwright.debias.losses import row_losses
from bertwright.recipe.debias_settings import Settings

EXPERTS = {"certain and right": 5.0, "uncertain": 0.0, "certain and wrong": -5.0}
"""The expert's gold logit in each panel; the paper names the panels and not the number, which is taken to be 5."""


@dataclass(frozen=True)
class Curve:
    """One line: the panel's expert, the similarity, the main model's gold logits and the loss at each."""

    expert: str
    rho: float
    gold_logits: tuple[float, ...]
    losses: tuple[float, ...]


def curves(
    settings: Settings | None = None,
    *,
    similarities: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    classes: int = 3,
    reach: float = 6.0,
    points: int = 49,
) -> tuple[Curve, ...]:
    """Return the loss over gold logits from ``-reach`` to ``reach``; all other logits of both models are 0.

    The paper's settings, alpha and beta 1 and three classes, where no other ones are given.
    """
    settings = settings or Settings()
    gold = torch.linspace(-reach, reach, points, dtype=torch.float64)
    logits = torch.nn.functional.pad(gold[:, None], (0, classes - 1))
    labels = torch.zeros(points, dtype=torch.long)
    found = []
    for name, value in EXPERTS.items():
        expert = torch.nn.functional.pad(torch.full_like(gold, value)[:, None], (0, classes - 1))
        for rho in similarities:
            given = {"logits": logits, "labels": labels, "expert": expert, "rho": torch.full_like(gold, rho)}
            rows = row_losses(given, settings)
            found.append(Curve(name, rho, tuple(gold.tolist()), tuple(rows.total.tolist())))
    return tuple(found)

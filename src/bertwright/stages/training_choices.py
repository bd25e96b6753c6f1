"""What a recipe says about training, as the loop's arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bertwright.recipe.sections import Finetune, Optimization, Pretrain
from bertwright.training.budget import Budget
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.schedules import Schedule
from bertwright.units import Amount

MICRO_BATCH_TOKENS = 8192
"""What goes through a CPU at once where the recipe does not say."""

# Two settings that are known to work, and a power law between them: 32 rows where 80,000 are seen (twenty minutes of
# two CPU cores, measured), 4,096 where 94 million are (academic-budget BERT).
SMALLEST_BATCH, _LARGEST = 32, 4096
_ROWS, _EXPONENT = 80_000, math.log(_LARGEST / SMALLEST_BATCH) / math.log(94.2e6 / 80_000)


def pretraining(options: Mapping[str, Any], settings: Mapping[str, Any]) -> Pretrain:
    """Return a pretraining's choices from a stage's options and settings, checked."""
    return Pretrain.model_validate({**options["pretrain"], **settings})


def finetuning(options: Mapping[str, Any], settings: Mapping[str, Any]) -> Finetune:
    """Return a run's choices from its options and settings, checked; the other options are about more than a run."""
    given = {**options, **settings}
    return Finetune.model_validate({name: given[name] for name in Finetune.model_fields if name in given})


def default_batch(rows: float | None, steps: float | None = None) -> int:
    """Return the rows of an update for a budget that sees ``rows`` rows, or makes ``steps`` updates: a power of two."""
    if rows is not None:
        batch = SMALLEST_BATCH * (max(rows, 1.0) / _ROWS) ** _EXPONENT
    else:
        # The same law, with rows = steps * batch.
        batch = (SMALLEST_BATCH * (max(steps or 1.0, 1.0) / _ROWS) ** _EXPONENT) ** (1 / (1 - _EXPONENT))
    return int(min(_LARGEST, max(SMALLEST_BATCH, 2 ** round(math.log2(batch)))))


def batch_of(choice: Pretrain, *, row_length: int, rows: int, tokens_per_second: float) -> int:
    """Return the rows of an update: the recipe's, or what its budget makes of ``rows`` rows at this speed."""
    if choice.batch is not None:
        return choice.batch
    unit, amount = choice.budget.unit, choice.budget.amount
    if unit == "steps":
        return default_batch(None, amount)
    seen = {"seconds": amount * tokens_per_second / row_length, "tokens": amount / row_length, "epochs": amount * rows}
    return default_batch(seen[unit])


def optimizer_of(model: nn.Module, choice: Pretrain, dtype: torch.dtype | None = None) -> Optimizer:
    """Return the optimizer of a model's trainable parameters, in ``dtype``. Betas and epsilon are 24hBERT's."""
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    settings = Settings(
        learning_rate=choice.learning_rate,
        weight_decay=choice.weight_decay,
        hidden=frozenset(name for name, parameter in parameters if ".blocks." in name and parameter.dim() == 2),
        hidden_learning_rate=choice.muon_learning_rate,
        momentum=choice.momentum,
    )
    return Optimizer(parameters, name=choice.optimizer, settings=settings, dtype=dtype)


def micro_batch_rows(choice: Pretrain, row_length: int, batch: int) -> int:
    """Return how many rows go through the encoder at once on a CPU."""
    return min(batch, choice.micro_batch or max(1, MICRO_BATCH_TOKENS // row_length))


def schedule_of(choice: Optimization) -> Schedule:
    """Return a recipe's schedule as the loop's."""
    return Schedule(choice.schedule, cycles=choice.cycles, power=choice.power, decay=choice.decay)


def as_budget(amount: Amount) -> Budget:
    """Return a recipe's amount of work as the loop's."""
    return Budget(amount.unit, amount.amount)

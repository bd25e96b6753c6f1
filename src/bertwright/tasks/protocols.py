"""Protocols by name: which settings are tried, on what the best is chosen, how many seeds are scored.

A protocol is a table, so that a published one can be held against its source line by line.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bertwright.errors import InputError

Setting = dict[str, Any]
"""Fields of a fine-tuning by name: learning_rate, batch, epochs, weight_decay, ...; and AdamW's ``betas``, where they
are not 0.9 and 0.999."""

_LARGE = ("mnli", "qqp", "qnli")


@dataclass(frozen=True)
class Plan:
    """What is done for one task: every combination of ``grid`` with what is ``fixed``.

    ``select_on`` is "holdout" (rows kept back from train) or "dev", ``metric`` what decides there (none: the task's
    first); with one setting nothing is selected. ``seeds`` are the final runs'; none: as the recipe says. ``start``
    names the task to start from, ``start_setting`` the run of that task (none: its best setting).
    """

    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fixed: Setting = field(default_factory=dict)
    select_on: str = "holdout"
    metric: str | None = None
    seeds: tuple[int, ...] | None = None
    start: str | None = None
    start_setting: Setting | None = None

    def settings(self) -> list[Setting]:
        """Return every setting to try, the last key of the grid turning fastest."""
        return [
            {**self.fixed, **dict(zip(self.grid, values, strict=True))}
            for values in itertools.product(*self.grid.values())
        ]


@dataclass(frozen=True)
class Protocol:
    """A published or own way to fine-tune: a plan for tasks by their known names, and one for all others."""

    source: str
    other: Plan
    tasks: Mapping[str, Plan] = field(default_factory=dict)
    methods: Mapping[str, Plan] = field(default_factory=dict)
    """Plans, for all tasks, of methods that learn at other settings than ``full`` does."""

    def plan(self, known: str | None, method: str = "full") -> Plan:
        """Return the plan of a known task, or of a user's own (``None``), learnt by a method."""
        return self.methods.get(method, self.tasks.get(known or "", self.other))


def _each(names: Sequence[str], plan: Plan) -> dict[str, Plan]:
    return dict.fromkeys(names, plan)


_EXTREMEBERT = Plan(
    fixed={"weight_decay": 0.1, "warmup": 0.06, "schedule": "linear", "clip": 1.0, "max_length": 128},
    select_on="dev",
    seeds=(42,),
)
_EXTREMEBERT_SMALL = replace(
    _EXTREMEBERT,
    grid={"epochs": (3.0, 5.0, 10.0), "batch": (16, 32), "learning_rate": (1e-5, 3e-5, 5e-5, 8e-5)},
)
_EXTREMEBERT_LARGE = replace(_EXTREMEBERT, grid={"epochs": (3.0, 5.0), "batch": (32,), "learning_rate": (5e-5, 8e-5)})
_MNLI_RUN: Setting = {"epochs": 3.0, "batch": 32, "learning_rate": 5e-5}
_EXTREMEBERT_FROM_MNLI = replace(_EXTREMEBERT_SMALL, start="mnli", start_setting=_MNLI_RUN)

_MOSAIC = Plan(
    fixed={"betas": [0.9, 0.98], "warmup": 0.06, "schedule": "linear", "clip": 1.0, "max_length": 256},
)


def _mosaic(
    rate: float, decay: float, batch: int, epochs: float, seeds: tuple[int, ...], start: str | None = None
) -> Plan:
    own = {"learning_rate": rate, "weight_decay": decay, "batch": batch, "epochs": epochs}
    return replace(_MOSAIC, fixed={**_MOSAIC.fixed, **own}, seeds=seeds, start=start)


_FIVE = (19, 8364, 717, 10536, 90166)

_SANE = Plan(
    grid={"learning_rate": (3e-5, 1e-4, 3e-4)},
    fixed={
        "batch": 32,
        "epochs": 5.0,
        "weight_decay": 0.01,
        "warmup": 0.06,
        "schedule": "linear",
        "clip": 1.0,
        "max_length": 128,
    },
)
# Biases, and heads alone, want rates ten to a hundred times as large (Ben Zaken et al. 2021); the paper's, of at most
# 1e-3, go with sixteen epochs of small batches.
_SANE_BIASES = replace(_SANE, grid={"learning_rate": (1e-3, 3e-3, 1e-2)})
_SANE_HEAD = replace(_SANE, grid={"learning_rate": (3e-3, 1e-2, 3e-2)})

_BITFIT = Plan(
    fixed={
        "batch": 8,
        "epochs": 16.0,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "schedule": "constant",
        "clip": 1.0,
        "max_length": 128,
    },
    select_on="dev",
)
_BITFIT_FEW = replace(_BITFIT, grid={"learning_rate": (1e-4, 4e-4, 1e-3)})
_FEW = ("bitfit", "head", "rand-uniform", "rand-row-col")

PROTOCOLS: dict[str, Protocol] = {
    "sane": Protocol(
        source="ours: three learning rates on rows kept back from train, then several seeds of the best",
        other=_SANE,
        methods={**_each(_FEW, _SANE_BIASES), "head": _SANE_HEAD},
    ),
    "bitfit": Protocol(
        source="BitFit (Ben Zaken et al. 2021) and its code: three rates between 1e-4 and 1e-3 for biases, 3e-5 for "
        "all weights, 16 epochs, chosen on dev; the last epoch is scored here, the best one on dev there",
        other=replace(_BITFIT, fixed={**_BITFIT.fixed, "learning_rate": 3e-5}, seeds=(0,)),
        methods=_each(_FEW, replace(_BITFIT_FEW, seeds=(0,))),
    ),
    "extremebert": Protocol(
        source="ExtremeBERT's fine-tuning scripts: 156 settings over nine tasks, chosen on dev; RTE, MRPC and STS-B "
        "start from MNLI's run of 3 epochs at 5e-5; the best setting is trained once more here",
        other=_EXTREMEBERT_SMALL,
        tasks={
            **_each(_LARGE, _EXTREMEBERT_LARGE),
            **_each(("rte", "mrpc"), _EXTREMEBERT_FROM_MNLI),
            "stsb": replace(_EXTREMEBERT_FROM_MNLI, metric="pearson"),
        },
    ),
    "mosaicbert": Protocol(
        source="MosaicBERT's fine-tuning jobs: one setting a task, RTE, MRPC and STS-B from MNLI; here rows are "
        "shuffled, gradients clipped, and weight decay is of matrices and times the rate (there none of these)",
        other=_mosaic(3e-5, 3e-6, 16, 3.0, _FIVE[:3]),
        tasks={
            "mnli": _mosaic(5e-5, 5e-6, 48, 3.0, _FIVE[:1]),
            "qqp": _mosaic(3e-5, 3e-6, 16, 5.0, _FIVE[:1]),
            "qnli": _mosaic(1e-5, 1e-6, 16, 10.0, _FIVE[:1]),
            "sst2": _mosaic(3e-5, 3e-6, 16, 3.0, _FIVE[:3]),
            "cola": _mosaic(5e-5, 5e-6, 32, 10.0, _FIVE[:4]),
            "rte": _mosaic(1e-5, 1e-5, 16, 3.0, _FIVE, "mnli"),
            "mrpc": _mosaic(8e-5, 8e-6, 32, 10.0, _FIVE, "mnli"),
            "stsb": _mosaic(3e-5, 3e-6, 32, 10.0, _FIVE, "mnli"),
        },
    ),
    "cramming": Protocol(
        source="Cramming (Geiping and Goldstein 2023): one setting for all tasks, the last epoch",
        other=Plan(
            fixed={
                "learning_rate": 4e-5,
                "batch": 16,
                "epochs": 5.0,
                "warmup": 0.1,
                "schedule": "cosine",
                "max_length": 128,
            },
        ),
    ),
}


def protocol(name: str) -> Protocol:
    """Return a protocol; ``InputError`` names those there are."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is not known; the protocols are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]

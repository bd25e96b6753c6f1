"""The kinds of stages, in the order in which they run: whose function does one, and what it asks of the machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bertwright.stages.work import Work


@dataclass(frozen=True)
class Kind:
    """``function`` of a file of this room (``file:function``) does it; its cost is counted to a ``part`` of the run.

    Of those that go ``side_by_side`` several may work at once; one ``in_passing`` reads a few records and is done,
    whoever works beside it. ``lower`` names the settings that lower its memory.
    """

    function: str
    part: str
    side_by_side: bool = False
    in_passing: bool = False
    on_gpu: bool = False
    lower: str | None = None


_READING = "`system.threads` or `system.memory`: fewer processes read at once"
_ANSWERING = "`system.runs`, where several go side by side, `finetune.max_length` or `encoder.size`"
_LEARNING = f"`finetune.micro_batch` (the batch stays the same), {_ANSWERING}"
_PRETRAINING = "`pretrain.micro_batch` (it changes no result), `system.devices` on one machine, or `encoder.size`"

KINDS = {
    "fetch": Kind("fetch:fetch", "text"),
    "tokenizer": Kind("prepare:tokenizer", "text", lower="`system.threads`, or take a tokenizer from a folder"),
    "overlap": Kind("overlap:overlap", "text", lower=_READING),
    "prepare": Kind("prepare:prepare", "text", lower=_READING),
    "initialise": Kind("initialise:initialise_encoder", "encoder", on_gpu=True),
    "biases": Kind("initialise:add_missing_biases", "encoder", on_gpu=True),
    "pretrain": Kind("pretrain:pretrain", "encoder", on_gpu=True, lower=_PRETRAINING),
    "shortcuts": Kind("shortcuts:shortcuts", "experts and shortcuts", side_by_side=True),
    "expert": Kind("expert:expert", "experts and shortcuts", side_by_side=True, on_gpu=True, lower=_LEARNING),
    "search": Kind("search:search", "search of settings", side_by_side=True, on_gpu=True, lower=_LEARNING),
    "choose": Kind("choose:choose", "search of settings", in_passing=True),
    "finetune": Kind("finetune:finetune", "fine-tuning", side_by_side=True, on_gpu=True, lower=_LEARNING),
    "ramps": Kind("ramps:ramps", "exits", side_by_side=True, on_gpu=True, lower=_ANSWERING),
    "evaluate": Kind("evaluate:evaluate", "scores", side_by_side=True, on_gpu=True, lower=_ANSWERING),
}
SIDE_BY_SIDE = frozenset(name for name, kind in KINDS.items() if kind.side_by_side)


def stage_function(kind: str) -> Callable[[Work], dict[str, Any]]:
    """Return the function of a kind of stage; its module is imported now and not before."""
    module, _, name = KINDS[kind].function.partition(":")
    function: Callable[[Work], dict[str, Any]] = getattr(importlib.import_module(f"bertwright.stages.{module}"), name)
    return function

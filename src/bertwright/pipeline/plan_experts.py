"""The stages of experts: who is fitted on which encoder, and whose signals a run needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright.errors import InputError
from bertwright.pipeline.settings import columns_of, expert_settings, without_result
from bertwright.pipeline.stage import Input, Stages, Variant, given_folder
from bertwright.recipe.debias import TEACHER, Expert
from bertwright.recipe.methods import Method
from bertwright.recipe.sections import Recipe
from bertwright.stages.work import EXPERT_OF, MODEL
from bertwright.tasks.task import Task

# What an attribution of the expert's hangs on; all else is how two of them are compared.
_USUAL = {"target": "gold", "position": "embeddings"}
_GIVEN = ("config.json", "tokenizer.json")
DRAWN = "untrained-"
"""What the name of a drawn small model's stage begins with; the expert's name follows."""


def plan_shortcuts(task: Task, stages: Stages) -> None:
    """Plan the search of a task's training rows for features that give the label away."""
    options = {"task": task.as_read().options()}
    stages.add(f"shortcuts/{task.name}", "shortcuts", options, paths={"train": task.train})


def plan_experts(recipe: Recipe, task: Task, variant: Variant, method: Method, stages: Stages) -> dict[str, Input]:
    """Plan the expert, and the teacher, that a method's runs need; return them by role.

    Runs of one encoder share them, and so do methods: a stage that is planned twice is one stage.
    """
    loss, found = method.against, dict[str, Input]()
    if loss is None or not loss.needs_expert:
        return found
    known = recipe.finetune.experts
    looked = {name: getattr(loss.attributing, name) for name in _USUAL} if loss.attributing else _USUAL
    name = str(method.expert)
    if loss.attributing is not None and known[name].kind == "file":
        raise InputError(
            f"the method {method.label} compares attributions, and the expert {name} is a file of logits, which has "
            "none; take poe, poe-ce or reweight, or an expert that is trained here"
        )
    planner = _Experts(recipe, task, variant, stages)
    found["expert"] = planner.plan(name, known[name], looked)
    if loss.method == "confidence":
        found[TEACHER] = planner.plan(TEACHER, known.get(TEACHER, Expert(kind="teacher")), _USUAL)
    return found


def experts_of(stages: Stages, task: str) -> dict[str, Input]:
    """Return a task's experts that were planned, by role, for whoever measures them."""
    return {
        EXPERT_OF + name.split("/", 2)[2]: Input(stage.identity, stage=name)
        for name, stage in stages.planned.items()
        if stage.kind == "expert" and name.split("/")[1] == task
    }


class _Experts:
    """Plans a task's experts beside one encoder."""

    def __init__(self, recipe: Recipe, task: Task, variant: Variant, stages: Stages) -> None:
        self.recipe, self.task, self.variant, self.stages = recipe, task, variant, stages

    def plan(self, name: str, expert: Expert, looked: Mapping[str, str]) -> Input:
        """Plan an expert; one that is asked for other attributions than the usual ones has them in its name."""
        task = self.task
        if expert.columns:
            columns_of(task, f"the expert {name}", expert.columns)
        own = "".join(f"-{value}" for key, value in looked.items() if value != _USUAL[key])
        stage = f"expert/{task.name}/{self.variant.name}/{name}{own}"
        # Experts learn by plain cross entropy: weights of labels change nothing of them.
        about: dict[str, Any] = {"task": replace(task.as_learnt(), class_weights=None).options(), "expert": expert.kind}
        if expert.kind == "file":
            options = {**about, "values": expert.values, "names": dict(expert.names)}
            paths = {"train": task.train, "logits": Path(str(expert.file))}
            return self.stages.add(stage, "expert", options, paths=paths)
        (choice,) = (one for one in self.recipe.tasks if one.name == task.name)
        decides, settings = without_result(expert_settings(self.recipe, choice, expert))
        options = {
            **about,
            **decides,
            "precision": self.recipe.system.precision,
            # A small model is the same beside each encoder.
            **({} if expert.kind == "small-model" else {"variant": self.variant.name}),
            "columns": list(expert.columns or task.text),
            "folds": expert.folds,
            "rows_to_learn": expert.rows_to_learn,
            **expert.cut,
            "looked_at": dict(looked),
            "seed": self.recipe.seed,
        }
        inputs = self._inputs(name, expert)
        return self.stages.add(stage, "expert", options, settings=settings, inputs=inputs, paths={"train": task.train})

    def _inputs(self, name: str, expert: Expert) -> dict[str, Input]:
        """Return the encoder that an expert begins with, and its tokenizer."""
        if expert.kind != "small-model":
            return {"encoder": self.variant.encoder, "tokenizer": self.variant.tokenizer}
        if expert.encoder is not None:
            key = f"finetune.experts.{name}.encoder"
            weights = given_folder(expert.encoder, _GIVEN, key, "*.safetensors")
            return {"encoder": weights, "tokenizer": given_folder(expert.encoder, _GIVEN[1:], key)}
        shape: dict[str, Any] = {"family": "bert", "size": "tiny", **expert.shape}
        shape["positions"] = self.recipe.encoder.positions
        options = {"seed": self.recipe.seed, "encoder": shape}
        inputs = {"tokenizer": self.variant.tokenizer}
        drawn = self.stages.add(f"{DRAWN}{name}", "initialise", options, inputs=inputs, inside=MODEL)
        return {"encoder": drawn, "tokenizer": self.variant.tokenizer}

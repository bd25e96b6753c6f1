"""The stages of the tasks: settings that are tried, the best one's runs over seeds, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bertwright.errors import InputError
from bertwright.pipeline.settings import Trial, dev_of, trial_of, without_result
from bertwright.pipeline.stage import Input, Stages, Variant
from bertwright.recipe import Recipe
from bertwright.stages.work import MODEL
from bertwright.tasks.protocols import Setting
from bertwright.tasks.task import Task

# The parts of their epochs for which settings are tried when the better half goes on.
_RUNGS = (0.25, 0.5, 1.0)


def plan_tasks(recipe: Recipe, tasks: Mapping[str, Task], variants: Sequence[Variant], stages: Stages) -> None:
    """Plan all tasks by name, those that others start from first."""
    choices = {choice.name: choice for choice in recipe.tasks}
    trials = {name: trial_of(recipe, choices[name], task) for name, task in tasks.items()}
    planner = _Tasks(recipe, tasks, trials, stages)
    for name in _in_order(trials):
        for variant in variants:
            planner.learn(name, variant)
        planner.evaluate(name, variants)


def _in_order(trials: Mapping[str, Trial]) -> list[str]:
    """Return names of tasks, each behind the one that it starts from."""
    order: list[str] = []
    left = list(trials)
    while left:
        ready = [name for name in left if trials[name].start is None or trials[name].start in order]
        if not ready:
            raise InputError(f"tasks start from each other: {', '.join(left)}; let one start from the encoder")
        order += ready
        left = [name for name in left if name not in ready]
    return order


@dataclass
class _Tasks:
    """Collects what was planned for each task: the runs to score, and what other tasks may start from."""

    recipe: Recipe
    tasks: Mapping[str, Task]
    trials: Mapping[str, Trial]
    stages: Stages
    runs: dict[str, dict[str, Input]] = field(default_factory=dict)

    def learn(self, name: str, variant: Variant) -> None:
        """Plan a task's runs on one encoder: the search for a setting where there are several, then the seeds."""
        trial, task = self.trials[name], self.tasks[name]
        base = self._base(task, variant)
        inputs = {"encoder": self._encoder(trial, variant), "tokenizer": variant.tokenizer}
        if len(trial.settings) > 1:
            inputs = {**inputs, "chosen": self._search(name, variant, base, inputs)}
            own = trial.at_place(0)
        else:
            own = dict(trial.settings[0])
        for seed in trial.seeds:
            run = self._run(f"finetune/{name}/{variant.name}/seed-{seed}", "finetune", {**base, **own}, seed, inputs)
            self.runs.setdefault(name, {})[f"{variant.name}/{seed}"] = run

    def evaluate(self, name: str, variants: Sequence[Variant]) -> None:
        """Plan the scores of all of a task's runs."""
        trial, task = self.trials[name], self.tasks[name]
        options = {
            "task": task.options(),
            "method": self.recipe.finetune.trainable,
            "max_length": trial.settings[0]["max_length"],
            "precision": self.recipe.system.precision,
            "protocol": trial.sentence,
            "settings_tried": len(trial.settings),
            "known": trial.known,
        }
        paths = {"train": task.train, **{f"set {part}": path for part, path in task.sets.items()}}
        self.stages.add(f"evaluate/{name}", "evaluate", options, inputs=self.runs[name], paths=paths)

    def _base(self, task: Task, variant: Variant) -> dict[str, Any]:
        """Return the options that all of a task's runs share; what only scores hang on stays out of them."""
        return {"task": task.as_learnt().options(), "precision": self.recipe.system.precision, "variant": variant.name}

    def _encoder(self, trial: Trial, variant: Variant) -> Input:
        """Return what a task's runs start from: the encoder, or another task's run on it."""
        if trial.start is None:
            return variant.encoder
        if trial.start_setting is None:
            run = self.runs[trial.start][f"{variant.name}/{self.trials[trial.start].seeds[0]}"]
        else:
            run = self._fixed_run(trial.start, trial.start_setting, variant)
        return replace(run, inside=MODEL)

    def _fixed_run(self, name: str, setting: Setting, variant: Variant) -> Input:
        """Plan another task's run at one setting, whatever is best there; planned twice, it is the same stage."""
        other, task = self.trials[name], self.tasks[name]
        inputs = {"encoder": self._encoder(other, variant), "tokenizer": variant.tokenizer}
        options = {**self._base(task, variant), **other.settings[0], **setting}
        return self._run(f"finetune/{name}/{variant.name}/to-start-from", "finetune", options, other.seeds[0], inputs)

    def _search(self, name: str, variant: Variant, base: Mapping[str, Any], inputs: Mapping[str, Input]) -> Input:
        """Plan the settings to try and the choice among them; by halving, the better half goes on to more epochs."""
        trial, choice = self.trials[name], self.recipe.finetune
        base = {
            **base,
            "chosen_on": trial.select_on,
            "metric": self.tasks[name].selection_metric,
            "positive": self.tasks[name].positive,
            "kept_back": choice.holdout if trial.select_on == "holdout" else None,
            "keep_weights": choice.keep == "all",
        }
        if not choice.halving:
            return self._rung(f"{name}/{variant.name}", trial, base, trial.settings, inputs, 1.0)
        owns: Sequence[Mapping[str, Any]] = trial.settings
        for number, share in enumerate(_RUNGS, 1):
            chosen = self._rung(f"{name}/{variant.name}/rung-{number}", trial, base, owns, inputs, share)
            inputs = {**inputs, "chosen": chosen}
            owns = [trial.at_place(place) for place in range(len(owns) // 2)]
            if len(owns) < 2:
                break  # the best of those that are left is known
        return chosen

    def _rung(
        self,
        stem: str,
        trial: Trial,
        base: Mapping[str, Any],
        owns: Sequence[Mapping[str, Any]],
        inputs: Mapping[str, Input],
        share: float,
    ) -> Input:
        """Plan some settings, each for a ``share`` of its epochs, and the choice among them."""
        tried = {}
        for place, own in enumerate(owns, 1):
            options = {**base, **own, "share": share}
            tried[f"{place:02d}"] = self._run(f"search/{stem}/{place:02d}", "search", options, trial.seeds[0], inputs)
        options = {
            "task": base["task"]["name"],
            "variant": base["variant"],
            "metric": base["metric"],
            "select_on": trial.select_on,
            "varied": list(trial.varied),
            "share": share,
        }
        before = {"before": inputs["chosen"]} if "chosen" in inputs else {}
        return self.stages.add(f"choose/{stem}", "choose", options, inputs={**tried, **before})

    def _run(self, stage: str, kind: str, options: Mapping[str, Any], seed: int, inputs: Mapping[str, Input]) -> Input:
        """Plan one run; one that is to choose on dev reads that set too."""
        task = self.tasks[options["task"]["name"]]
        decides, settings = without_result({**options, "seed": seed})
        paths = {"train": task.train}
        if kind == "search" and options["chosen_on"] == "dev":
            name = dev_of(task.sets)
            paths[f"set {name}"] = task.sets[str(name)]
        return self.stages.add(stage, kind, decides, settings=settings, inputs=inputs, paths=paths)

"""The stages of the tasks: settings that are tried, the best one's runs over seeds, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bertwright.errors import InputError
from bertwright.pipeline.plan_exits import plan_ramps
from bertwright.pipeline.plan_experts import experts_of, plan_experts, plan_shortcuts
from bertwright.pipeline.settings import SUBSETS, Trial, dev_of, loss_options, trials_of, without_result
from bertwright.pipeline.settings_exits import keeping_back
from bertwright.pipeline.stage import UNTRAINED, Input, Stages, Variant
from bertwright.recipe.sections import Recipe
from bertwright.stages.work import MODEL
from bertwright.tasks.protocols import Setting
from bertwright.tasks.task import Task

# The parts of their epochs for which settings are tried when the better half goes on.
_RUNGS = (0.25, 0.5, 1.0)


def plan_tasks(recipe: Recipe, tasks: Mapping[str, Task], variants: Sequence[Variant], stages: Stages) -> None:
    """Plan all tasks by name, those that others start from first."""
    choices = {choice.name: choice for choice in recipe.tasks}
    trials = {name: trials_of(recipe, choices[name], task) for name, task in tasks.items()}
    tasks = {name: keeping_back(task, [trial.exits for trial in trials[name]]) for name, task in tasks.items()}
    planner = _Tasks(recipe, tasks, trials, stages)
    for name in _in_order({name: of_task[0] for name, of_task in trials.items()}):
        if recipe.finetune.shortcuts and tasks[name].kind == "classification":
            plan_shortcuts(tasks[name], stages)
        learners = [
            _Learner(variant, trial, _label(variant, trial))
            for variant in variants
            for trial in _learnt_by(variant, trials[name])
        ]
        for learner in learners:
            planner.learn(name, learner)
        planner.evaluate(name, learners)


def _learnt_by(variant: Variant, trials: Sequence[Trial]) -> Sequence[Trial]:
    """Return the methods that an encoder learns a task by: the untrained one, a baseline, by the first alone."""
    return trials[:1] if variant.name == UNTRAINED else trials


def _label(variant: Variant, trial: Trial) -> str:
    """Return what a task's runs on one encoder by one method are called: the method is said where there are several."""
    return variant.name if trial.alone else f"{variant.name}-{trial.method.label}"


def _other_than_score(trial: Trial) -> dict[str, Any]:
    """Return what makes a setting the best, where it is another thing than the score."""
    return {} if trial.select_by == "score" else {"select_by": trial.select_by}


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


@dataclass(frozen=True)
class _Learner:
    """An encoder and a method that a task is learnt with, and what their runs are called."""

    variant: Variant
    trial: Trial
    label: str


@dataclass
class _Tasks:
    """Collects what was planned for each task: the runs to score, and what other tasks may start from."""

    recipe: Recipe
    tasks: Mapping[str, Task]
    trials: Mapping[str, Sequence[Trial]]
    stages: Stages
    runs: dict[str, dict[str, Input]] = field(default_factory=dict)
    ramped: dict[str, dict[str, Input]] = field(default_factory=dict)
    """The runs that left a pack, with ramps in it."""

    def learn(self, name: str, learner: _Learner) -> None:
        """Plan a task's runs on one encoder: the search for a setting where there are several, then the seeds."""
        trial, variant = learner.trial, learner.variant
        base = self._base(self.tasks[name], variant)
        inputs = {**self._start(trial, learner), "tokenizer": variant.tokenizer}
        inputs |= plan_experts(self.recipe, self.tasks[name], variant, trial.method, self.stages)
        if len(trial.settings) > 1 or trial.method.within is not None:
            inputs = {**inputs, "chosen": self._search(name, learner, base, inputs)}
            own = trial.at_place(0)
        else:
            own = dict(trial.settings[0])
        for seed in trial.seeds:
            run = self._run(f"finetune/{name}/{learner.label}/seed-{seed}", "finetune", {**base, **own}, seed, inputs)
            self.runs.setdefault(name, {})[f"{learner.label}/{seed}"] = run
            ramps = self._ramps(name, learner, seed, run)
            if ramps is not None and trial.method.leaves_a_pack:
                self.ramped.setdefault(name, {})[f"{learner.label}/{seed}"] = ramps

    def _ramps(self, name: str, learner: _Learner, seed: int, run: Input) -> Input | None:
        task, trial, precision = self.tasks[name], learner.trial, self.recipe.system.precision
        return plan_ramps(task, learner.variant, trial, learner.label, seed, run, precision, trial.known, self.stages)

    def evaluate(self, name: str, learners: Sequence[_Learner]) -> None:
        """Plan the scores of all of a task's runs; those of packs take their encoder along."""
        task, trials = self.tasks[name], self.trials[name]
        variants = {
            one.label: {
                "encoder": one.variant.name,
                "method": one.trial.method.method,
                "protocol": one.trial.sentence,
                "settings_tried": one.trial.tried,
                **loss_options(one.trial.method),
            }
            for one in learners
        }
        options = {
            "task": task.options(),
            "variants": variants,
            "max_length": trials[0].settings[0]["max_length"],
            "precision": self.recipe.system.precision,
            "score_train": self.recipe.finetune.score_train,
            "known": trials[0].known,
        }
        paths = {"train": task.train, **{f"set {part}": path for part, path in task.sets.items()}}
        backbones = {
            f"encoder of {one.label}": one.variant.encoder for one in learners if one.trial.method.leaves_a_pack
        }
        # A pack is scored with its ramps in it, so that the scored one has them.
        inputs = {**self.runs[name], **self.ramped.get(name, {}), **backbones, **experts_of(self.stages, name)}
        self.stages.add(f"evaluate/{name}", "evaluate", options, inputs=inputs, paths=paths)

    def _base(self, task: Task, variant: Variant) -> dict[str, Any]:
        """Return the options that all of a task's runs share; what only scores hang on stays out of them."""
        return {"task": task.as_learnt().options(), "precision": self.recipe.system.precision, "variant": variant.name}

    def _start(self, trial: Trial, learner: _Learner) -> dict[str, Input]:
        """Return what a task's runs start from: the encoder, or another task's run on it.

        A run that left a pack is not an encoder: it comes beside the one that it belongs to, as ``before``.
        """
        if trial.start is None:
            return {"encoder": learner.variant.encoder}
        others = _learnt_by(learner.variant, self.trials[trial.start])
        other = next((one for one in others if one.method.learns_like(trial.method)), None)
        if other is None:
            raise InputError(
                f"a task starts from {trial.start} by the method {trial.method.label}, and on the encoder "
                f"{learner.variant.name} that task is learnt by {', '.join(one.method.label for one in others)}; give "
                "both tasks the same `trainable`, in the same order"
            )
        if trial.start_setting is None:
            run = self.runs[trial.start][f"{_label(learner.variant, other)}/{other.seeds[0]}"]
        else:
            run = self._fixed_run(trial.start, other, trial.start_setting, learner)
        if trial.method.leaves_a_pack:
            return {"encoder": learner.variant.encoder, "before": run}
        beside = {} if trial.method.method == "full" else {"original": learner.variant.encoder}
        return {"encoder": replace(run, inside=MODEL), **beside}

    def _fixed_run(self, name: str, other: Trial, setting: Setting, learner: _Learner) -> Input:
        """Plan another task's run at one setting, whatever is best there; planned twice, it is the same stage."""
        inputs = {**self._start(other, learner), "tokenizer": learner.variant.tokenizer}
        inputs |= plan_experts(self.recipe, self.tasks[name], learner.variant, other.method, self.stages)
        options = {**self._base(self.tasks[name], learner.variant), **other.settings[0], **setting}
        stage = f"finetune/{name}/{_label(learner.variant, other)}/to-start-from"
        return self._run(stage, "finetune", options, other.seeds[0], inputs)

    def _search(self, name: str, learner: _Learner, base: Mapping[str, Any], inputs: Mapping[str, Input]) -> Input:
        """Plan the settings to try and the choice among them; by halving, the better half goes on to more epochs."""
        trial, choice = learner.trial, self.recipe.finetune
        base = {
            **base,
            "chosen_on": trial.select_on,
            "metric": self.tasks[name].selection_metric,
            "positive": self.tasks[name].positive,
            "kept_back": choice.holdout if trial.select_on == "holdout" else None,
            "keep_weights": choice.keep == "all",
            **_other_than_score(trial),
        }
        stem = f"{name}/{learner.label}"
        owns: Sequence[Mapping[str, Any]] = trial.settings
        rungs = _RUNGS if choice.halving and len(owns) > 1 else (1.0,)
        for number, share in enumerate(rungs, 1):
            rung = f"{stem}/rung-{number}" if len(rungs) > 1 else stem
            chosen = self._rung(rung, trial, base, owns, inputs, share)
            inputs = {**inputs, "chosen": chosen}
            owns = [trial.at_place(place) for place in range(len(owns) // 2)]
            if len(owns) < 2:
                break  # the best of those that are left is known
        if trial.method.within is None:
            return chosen
        if share < 1.0:
            # Subsets are held against all terms learnt as long as they are.
            whole = self._rung(f"{stem}/all-terms", trial, base, [trial.at_place(0)], inputs, 1.0)
            inputs = {**inputs, "chosen": whole}
        return self._smallest(stem, trial, base, inputs)

    def _smallest(self, stem: str, trial: Trial, base: Mapping[str, Any], inputs: Mapping[str, Input]) -> Input:
        """Plan runs on the terms that moved most, one, two, three, ... of them, and the choice of the fewest."""
        owns = [{**trial.at_place(0), "most_moved": count} for count in SUBSETS]
        return self._rung(f"{stem}/terms", trial, base, owns, inputs, 1.0, within=trial.method.within)

    def _rung(
        self,
        stem: str,
        trial: Trial,
        base: Mapping[str, Any],
        owns: Sequence[Mapping[str, Any]],
        inputs: Mapping[str, Input],
        share: float,
        within: float | None = None,
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
            "varied": list(trial.varied) if within is None else ["terms"],
            "share": share,
            **_other_than_score(trial),
            **({} if within is None else {"within": within}),
        }
        before = {"before": inputs["chosen"]} if "chosen" in inputs else {}
        return self.stages.add(f"choose/{stem}", "choose", options, inputs={**tried, **before})

    def _run(self, stage: str, kind: str, options: Mapping[str, Any], seed: int, inputs: Mapping[str, Input]) -> Input:
        """Plan one run; one that is to choose on dev reads that set too."""
        task = self.tasks[options["task"]["name"]]
        decides, settings = without_result({**options, "seed": seed})
        if kind == "search" and not options["keep_weights"]:
            decides.pop("pack", None)  # of what is tried a score is left, and no pack
        paths = {"train": task.train}
        if kind == "search" and options["chosen_on"] == "dev":
            name = dev_of(task.sets)
            paths[f"set {name}"] = task.sets[str(name)]
        return self.stages.add(stage, kind, decides, settings=settings, inputs=inputs, paths=paths)

"""What is tried for a task: the protocol's plan with what the recipe says itself, as one list of settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bertwright.errors import InputError
from bertwright.pipeline.settings_exits import check_exits, learnt_together
from bertwright.recipe.debias import Expert
from bertwright.recipe.debias_settings import OPTIONS
from bertwright.recipe.exits import Exits
from bertwright.recipe.methods import LARGE_RATE, LOSS_SETTINGS, Method
from bertwright.recipe.sections import Finetune, Recipe
from bertwright.recipe.task import Task as TaskChoice
from bertwright.tasks.protocols import Plan, Setting, protocol
from bertwright.tasks.task import Task

# Fields that say what is tried, and not how one run learns.
_ABOUT_RUNS = {
    *("seeds", "baseline", "at_checkpoints"),
    *("protocol", "grid", "select_on", "select_by", "holdout", "halving", "keep"),
    *("trainable", "pack", "score_train", "experts", "shortcuts", "exits"),
}
# Settings that change how a stage works and not what comes of it: they stay out of its identity.
_NO_RESULT = ("micro_batch", "checkpoint_every", "keep_weights")
SUBSETS = (1, 2, 3, 4, 6)
"""How many kinds of bias terms are tried where the smallest sufficient subset is wanted."""
# What a run has whatever setting is chosen for it.
_NOT_CHOSEN = (*_NO_RESULT, "pack", "chosen_by")
_OF_A_TASK = ("epochs", "batch", "learning_rate", "max_length")


@dataclass(frozen=True)
class Trial:
    """All that one task is learnt with by one method: every setting whole, what the best is chosen on, the seeds."""

    method: Method
    settings: tuple[Setting, ...]
    varied: tuple[str, ...]
    """Fields in which the settings differ."""
    select_on: str
    select_by: str
    seeds: tuple[int, ...]
    start: str | None
    """Name of the task whose run is started from."""
    start_setting: Setting | None
    protocol: str
    known: str | None
    alone: bool
    """Whether the task has no other method."""
    exits: Exits | None = None
    """Early exits of its runs."""
    metric: str | None = None
    """What the best is chosen by, where a protocol takes another metric than the task's own."""

    def at_place(self, place: int) -> dict[str, Any]:
        """Return the options of a run whose setting is still to be chosen: the one at this place, the best first."""
        return {"place": place, **{name: value for name, value in self.settings[0].items() if name in _NOT_CHOSEN}}

    @property
    def sentence(self) -> str:
        """Say how the scored setting came about, for whoever reads the scores."""
        if self.tried == 1:
            return f"{self.protocol}: one setting, the weights of the last epoch, nothing selected on any set"
        where = "rows kept back from train" if self.select_on == "holdout" else "dev, where it is scored too"
        where += f", by {self.metric}" if self.metric is not None else ""
        if self.method.within is not None:
            return (
                f"{self.protocol}: the fewest bias terms within {self.method.within:g} points of all, of {self.tried} "
                f"settings on {where}; the weights of the last epoch"
            )
        if self.select_by == "both-sides":
            where += ", by the mean of accuracies where the expert is right and where it is wrong"
        return f"{self.protocol}: the best of {len(self.settings)} settings on {where}; the weights of the last epoch"

    @property
    def tried(self) -> int:
        """Return how many settings are tried, subsets of terms among them."""
        return len(self.settings) + (0 if self.method.within is None else len(SUBSETS))


def without_result(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a section's values into those that decide a result and those that do not."""
    return (
        {key: value for key, value in values.items() if key not in _NO_RESULT},
        {key: value for key, value in values.items() if key in _NO_RESULT},
    )


def trials_of(recipe: Recipe, choice: TaskChoice, task: Task) -> tuple[Trial, ...]:
    """Return what is tried for a task of the recipe, by each method."""
    return tuple(_trial(recipe, choice, task, method) for method in choice.trainable or recipe.finetune.trainable)


def _trial(recipe: Recipe, choice: TaskChoice, task: Task, method: Method) -> Trial:
    """Return what is tried for a task by one method.

    ``InputError`` where a value stands beside a grid that tries several, where a protocol starts from a task that the
    recipe lacks, and where dev is to choose and there is none, or one of another task.
    """
    finetune = recipe.finetune
    _need_classes(task, method)
    exits = method.exits or choice.exits or finetune.exits
    if exits is not None:
        check_exits(task, method, exits)
    published = protocol(finetune.protocol).plan(choice.known, method.method) if finetune.protocol else Plan()
    plan = _with_own_grid(published, finetune, method)
    explicit = _explicit(finetune, choice)
    for name in explicit.keys() & plan.grid.keys() if method.grid is None else ():
        raise InputError(
            f"task {choice.name}: `{name}` is set to {explicit[name]}, and the grid tries "
            f"{', '.join(f'{value:g}' for value in plan.grid[name])}; remove one of the two"
        )
    usual: Setting = {} if method.method == "full" else {"learning_rate": LARGE_RATE}
    usual |= learnt_together(exits, task.kind)
    base = {**finetune.model_dump(mode="json", exclude=_ABOUT_RUNS), **usual}
    own = {name: value for name, value in explicit.items() if name not in plan.grid} | method.settings
    learnt = _trained(finetune, method)
    settings = [{**base, **_run_of(setting), **own, **_with_tried(learnt, setting)} for setting in plan.settings()]
    select_on, several = finetune.select_on or plan.select_on, len(settings) > 1 or method.within is not None
    if select_on == "dev" and several:
        _need_dev(task)
    by_sides = finetune.select_by == "both-sides" and len(settings) > 1
    if by_sides:
        _need_expert(task, method, select_on)
    # What the recipe says itself stands before the protocol.
    metric = plan.metric if several and "select_by" not in finetune.model_fields_set else None
    if metric is not None:
        settings = [{**one, "chosen_by": metric} for one in settings]
    trial = Trial(
        method=method,
        settings=tuple(settings),
        varied=tuple(name for name, values in plan.grid.items() if len(values) > 1),
        select_on=select_on,
        select_by=finetune.select_by if by_sides else "score",
        seeds=_seeds(recipe, choice, plan),
        start=_start(recipe, choice, plan),
        start_setting=plan.start_setting if choice.start_from is None else None,
        protocol="own settings",
        known=choice.known,
        alone=len(choice.trainable or finetune.trainable) == 1,
        exits=exits,
        metric=metric,
    )
    return replace(trial, protocol=_named(recipe, choice, published, trial, usual)) if finetune.protocol else trial


def _with_own_grid(plan: Plan, finetune: Finetune, method: Method) -> Plan:
    """Return a plan with the grid of the method or the recipe, where one of them has one."""
    grid = method.grid or finetune.grid
    if grid is not None:
        own = {name: getattr(grid, name) for name in type(grid).model_fields}
        plan = replace(plan, grid={name: values for name, values in own.items() if values})
    # What a method says itself stands before a grid for all, and its own grid before a value for all.
    return replace(plan, grid={name: values for name, values in plan.grid.items() if name not in method.settings})


def _named(recipe: Recipe, choice: TaskChoice, plan: Plan, trial: Trial, usual: Setting) -> str:
    """Return a protocol's name and, where the recipe departs from its plan, in what: such scores are not published."""
    finetune, several = recipe.finetune, trial.tried > 1
    base = {**Finetune().model_dump(mode="json", exclude=_ABOUT_RUNS), **usual}
    planned = [{**base, **setting} for setting in plan.settings()]
    own = [name for name in planned[0] if name not in _NO_RESULT and _all(trial.settings, name) != _all(planned, name)]
    own += [name for name in trial.varied if name in LOSS_SETTINGS]
    departures = {
        "select_on": several and trial.select_on != plan.select_on,
        "select_by": several and (trial.select_by, trial.metric) != ("score", plan.metric),
        "holdout": several and trial.select_on == "holdout" and finetune.holdout != Finetune().holdout,
        "halving": several and finetune.halving,
        "seeds": plan.seeds not in (None, trial.seeds),
        "start_from": _starts_otherwise(recipe, choice, plan),
    }
    own += [name for name, departs in departures.items() if departs]
    return f"protocol {finetune.protocol}" + (f" with own {', '.join(own)}" if own else "")


def _all(settings: Sequence[Setting], name: str) -> set[str]:
    """Return what some settings have in a field; lists among it are told apart by how they are written."""
    return {repr(one.get(name)) for one in settings}


def _starts_otherwise(recipe: Recipe, choice: TaskChoice, plan: Plan) -> bool:
    """Return whether a task starts from another run than its plan says."""
    if choice.start_from in (None, "encoder"):
        return choice.start_from is not None and plan.start is not None
    meant = next((one.name for one in recipe.tasks if plan.start is not None and one.known == plan.start), None)
    return choice.start_from != meant or plan.start_setting is not None


def _trained(finetune: Finetune, method: Method) -> Setting:
    """Return what says which parameters learn, more than its name for a method that does not train them all; and the
    loss, where it is another one than the usual."""
    loss = loss_options(method)
    if method.method == "full":
        depth = {} if method.depth is None else {"depth": method.depth}
        return {"trainable": "full", **loss, **depth}
    layers = None if method.layers is None else list(method.layers)
    return {"trainable": method.method, "terms": method.terms, "layers": layers, "pack": finetune.pack, **loss}


def _run_of(setting: Setting) -> Setting:
    """Return what of a setting is a run's own."""
    return {name: value for name, value in setting.items() if name not in LOSS_SETTINGS}


def _with_tried(learnt: Setting, setting: Setting) -> Setting:
    """Put what a grid tries of a loss into the loss."""
    tried = {name: setting[name] for name in LOSS_SETTINGS if name in setting}
    return {**learnt, "loss": {**learnt["loss"], **tried}} if tried else learnt


def loss_options(method: Method) -> Setting:
    """Return what a method's loss is computed with, as plain values; nothing for plain cross entropy."""
    loss = method.against
    if loss is None:
        return {}
    taken = {name: getattr(loss.settings, name) for name in OPTIONS[loss.method] if name != "mean_weight"}
    found: Setting = {"loss": {"method": loss.method, **taken}}
    if loss.attributing is not None:
        found["attributing"] = asdict(loss.attributing)
    return {**found, "bias_columns": list(loss.columns)} if loss.columns else found


def _need_classes(task: Task, method: Method) -> None:
    """Refuse a loss against a shortcut where a task, or its rows, do not go with it."""
    loss = method.against
    if loss is None:
        return
    if task.kind != "classification":
        raise InputError(
            f"task {task.name}: the method {method.label} has the loss {loss.name}, which is for one class a row, and "
            f"this is a {task.kind} task; give the task a `trainable` of its own"
        )
    if task.window_stride is not None:
        raise InputError(
            f"task {task.name}: the method {method.label} has the loss {loss.name}, which is of whole rows, and "
            "`window_stride` cuts long ones into windows; leave it out"
        )
    if loss.columns:
        columns_of(task, f"the method {method.label}", loss.columns)


def columns_of(task: Task, who: str, columns: Sequence[str]) -> None:
    """Refuse columns that a task's rows have not, or all of them."""
    if wrong := [name for name in columns if name not in task.text]:
        raise InputError(
            f"task {task.name}: {who} reads the column {wrong[0]!r}, and the task's text columns are "
            f"{', '.join(task.text)}; name one of these, or give the task a `trainable` of its own"
        )
    if len(set(columns)) == len(task.text):
        raise InputError(
            f"task {task.name}: {who} reads {', '.join(columns)}, which is all that there is; name some of the text "
            "columns alone"
        )


def dev_of(sets: Collection[str]) -> str | None:
    """Return the set that protocols choose on: MNLI's has a name of its own."""
    return next((name for name in ("dev", "dev_matched") if name in sets), None)


def _need_dev(task: Task) -> None:
    """Refuse a choice on dev where there is none, or where its rows are another task's."""
    name = dev_of(task.sets)
    if name is None:
        raise InputError(
            f"task {task.name}: the best setting is to be chosen on the set `dev`, and there are "
            f"{', '.join(task.sets)}; name a set `dev`, or take `finetune.select_on: holdout`"
        )
    if (other := task.form(name).known) is not None:
        raise InputError(
            f"task {task.name}: the best setting is to be chosen on {name}, whose rows are those of {other}, another "
            "task; take `finetune.select_on: holdout`"
        )


def _need_expert(task: Task, method: Method, select_on: str) -> None:
    """Refuse a choice by both sides where no expert says which side a row is on."""
    who = f"task {task.name}: the best setting of {method.label} is to be chosen by `both-sides`"
    if method.against is None or not method.against.needs_expert:
        raise InputError(
            f"{who}, and the method has no expert whose answers would part the rows; set one learning rate for it, or "
            "take `finetune.select_by: score`"
        )
    if select_on == "dev":
        raise InputError(
            f"{who} on dev, whose rows the expert has not scored; take `finetune.select_on: holdout`, or "
            "`finetune.select_by: score`"
        )


def expert_settings(recipe: Recipe, choice: TaskChoice, expert: Expert) -> Setting:
    """Return the settings that an expert is trained at: its own, the task's, the recipe's, its protocol's."""
    finetune = recipe.finetune
    fixed = protocol(finetune.protocol).plan(choice.known).fixed if finetune.protocol else {}
    base = finetune.model_dump(mode="json", exclude=_ABOUT_RUNS)
    return {**base, **fixed, **_explicit(finetune, choice), **expert.settings, "trainable": "full"}


def _explicit(finetune: Finetune, choice: TaskChoice) -> Mapping[str, Any]:
    """Return the fields of a run that the recipe sets itself, the task's before those for all."""
    given = finetune.model_dump(mode="json", include=finetune.model_fields_set - _ABOUT_RUNS)
    of_task = {key: getattr(choice, key) for key in _OF_A_TASK if getattr(choice, key) is not None}
    return {**given, **of_task}


def _seeds(recipe: Recipe, choice: TaskChoice, plan: Plan) -> tuple[int, ...]:
    """Return the seeds of a task's runs: the task's count, else the recipe's, else the protocol's own."""
    if choice.seeds is None and plan.seeds is not None and "seeds" not in recipe.finetune.model_fields_set:
        return plan.seeds
    return tuple(range(recipe.seed, recipe.seed + (choice.seeds or recipe.finetune.seeds)))


def _start(recipe: Recipe, choice: TaskChoice, plan: Plan) -> str | None:
    """Return the name of the task to start from: the recipe's, or its entry for the one that the protocol means."""
    if choice.start_from is not None:
        return None if choice.start_from == "encoder" else choice.start_from
    if plan.start is None:
        return None
    for other in recipe.tasks:
        if other.known == plan.start:
            return other.name
    raise InputError(
        f"protocol {recipe.finetune.protocol} starts task {choice.name} from {plan.start}, and no task of the recipe "
        f"is `known: {plan.start}`; add it, or set `start_from: encoder` for {choice.name}"
    )

"""Recipe and data before any work: every fault at once, then one real step and what it all will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bertwright.errors import BertwrightError, Problem, RecipeError
from bertwright.pipeline.forecast import measure_stages
from bertwright.pipeline.plan import plan, resolve_task
from bertwright.pipeline.prediction import duration, refuse
from bertwright.pipeline.preflight import look_into_experts, look_into_source, look_into_task, sources_of
from bertwright.pipeline.results import run_folder
from bertwright.pipeline.run import as_recipe
from bertwright.pipeline.stage import standings
from bertwright.recipe.reading import Draft, draft_recipe, load_recipe
from bertwright.recipe.sections import Finetune, Recipe
from bertwright.recipe.task import Task
from bertwright.recipe.text import Prepare
from bertwright.reports.debias_tables import shortcut_table
from bertwright.reports.words import bytes_text, seconds_text, told_once
from bertwright.stages.shortcuts import facts_of
from bertwright.store import Store, pointers

# Below this many updates a schedule has hardly begun before it ends.
_FEW_STEPS = 1000


@dataclass(frozen=True)
class Check:
    """What a recipe will do and cost: a row a stage that is due, what was noticed, and the sums."""

    stages: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]
    seconds: float
    memory_bytes: int
    disk_bytes: int

    def lines(self) -> list[str]:
        """Return the forecast as a table, and the notes."""
        width = max((len(name) for name in self.stages), default=5)
        rows = [
            f"{name:{width}}  {seconds_text(one['seconds']):>8}  {bytes_text(one['memory_bytes']):>9}"
            f"  {bytes_text(one['disk_bytes'] + one['scratch_bytes']):>9}"
            for name, one in self.stages.items()
        ]
        head = [f"{'stage':{width}}  {'time':>8}  {'memory':>9}  {'disk':>9}"] if rows else ["nothing is due"]
        total = (
            f"in all {seconds_text(self.seconds)}, at most {bytes_text(self.memory_bytes)} of memory, "
            f"{bytes_text(self.disk_bytes)} of disk to keep"
        )
        return ["the recipe and its data are fine", *head, *rows, *([total] if rows else []), *self.notes]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "stages": {name: dict(one) for name, one in self.stages.items()},
            "notes": list(self.notes),
            "seconds": self.seconds,
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
        }


def check(
    source: Recipe | str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    tell: Callable[[float], None] = lambda share: None,
) -> Check:
    """Check a recipe and its data, take one real step of each shape, and forecast what is due.

    Steps are kept in the store for an hour, so that ``run`` need not take them again.

    ``tell`` gets the share of the stages that is measured.

    ``RecipeError`` lists all faults of recipe and data at once, each with its line; ``InputError`` what cannot fit.
    """
    if isinstance(source, str | Path):
        draft = draft_recipe(source, overrides)
    else:
        recipe = as_recipe(source)
        sections = {name: getattr(recipe, name) for name in type(recipe).model_fields}
        draft = Draft("recipe", (), sections, {}, recipe)
    notes: list[str] = []
    problems = [*draft.problems, *_data_problems(draft, notes)]
    if problems or draft.recipe is None:
        raise RecipeError(draft.source, sorted(problems, key=lambda p: p.line or 0))
    recipe = draft.recipe
    store, stages = Store(recipe.store), plan(recipe)
    before = pointers(run_folder(recipe))
    states = standings(stages, store, before, whole=recipe.finetune.keep != "none")
    due = [stage for stage in stages if states[stage.name].state != "done"]
    folders = {s.name: found.folder for s in stages if (found := store.sealed(s.kind, s.identity))}
    predicted = measure_stages(recipe, due, folders, tell) if due else {}
    refuse(predicted, recipe, store.root)
    notes += network_notes(recipe)
    if any(stage.kind == "fetch" for stage in due):
        notes.append("note: hub datasets are not here yet, and the forecast leaves out what needs them")
    for name, one in predicted.items():
        if one.pace is not None:
            notes += _pace(name, one.pace)
    return Check(
        {name: one.as_dict() for name, one in predicted.items()},
        tuple(_told_once(notes, recipe.tasks)),
        duration(predicted, recipe),
        max((one.memory_bytes for one in predicted.values()), default=0),
        sum(one.disk_bytes for one in predicted.values()),
    )


@dataclass(frozen=True)
class Shortcuts:
    """What the search for shortcuts found, a record a task."""

    tasks: tuple[Mapping[str, Any], ...]
    left_out: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return a table a task, with what it comes to."""
        found = []
        for one in self.tasks:
            table = shortcut_table(one)
            found += [table.title, *(table.lines() if table.rows else []), table.caption, ""]
        return [*found, *self.left_out]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"tasks": [dict(one) for one in self.tasks], "notes": list(self.left_out)}


def check_shortcuts(source: Recipe | str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Shortcuts:
    """Search the training rows of a recipe's tasks for features that give the label away; needs no torch."""
    recipe = load_recipe(source, overrides) if isinstance(source, str | Path) else as_recipe(source)
    tasks = [resolve_task(choice) for choice in recipe.tasks]
    searched = tuple(facts_of(task) for task in tasks if task.kind == "classification")
    others = [
        f"note: task {task.name}: found a {task.kind} task; shortcuts are searched where a row has one label"
        for task in tasks
        if task.kind != "classification"
    ]
    told = _told_once(others, recipe.tasks) if tasks else ["the recipe has no task"]
    return Shortcuts(searched, tuple(told))


def _told_once(notes: Sequence[str], tasks: Sequence[Task]) -> list[str]:
    return told_once(notes, [task.name for task in tasks], "note: task ", "note: tasks ")


def _data_problems(draft: Draft, notes: list[str]) -> list[Problem]:
    """Look into the files of every section that could be read, also where others have faults."""
    problems: list[Problem] = []

    def attempt(key: tuple[str | int, ...], look: Callable[[], None]) -> bool:
        try:
            look()
        except BertwrightError as error:
            problems.append(draft.problem(key, str(error)))
            return False
        return True

    prepare = draft.sections.get("prepare")
    if isinstance(prepare, Prepare):
        for one in sources_of(prepare):
            attempt(("prepare", "sources", one.number), partial(look_into_source, one, prepare, notes))
    for index, task in enumerate(draft.sections.get("tasks") or ()):
        if isinstance(task, Task):
            read = attempt(("tasks", index), partial(_look_into_rows, task, notes))
            # Rows that cannot be read are one fault, and not two.
            if read and draft.recipe is not None and draft.recipe.finetune.experts:
                look = partial(_look_into_experts, task, draft.recipe.finetune, notes)
                attempt(("finetune", "experts"), look)
    return problems


def network_notes(recipe: Recipe) -> list[str]:
    """Return a note for all that a recipe asks a network for; of every other recipe nothing leaves the machine."""
    named = [source.hub for source in (recipe.prepare.sources if recipe.prepare else ()) if source.hub is not None]
    # A folder takes the place of a name, and tensorboard writes files.
    hubs = [name for name in named if not Path(name).is_dir()]
    far = [name for name in recipe.system.trackers if name != "tensorboard"]
    told = [
        f"note: the network is asked for the hub dataset {name}, and what comes is kept in the store" for name in hubs
    ]
    return told + [
        f"note: {name} is told the figures of a pretraining, and may send them over the network" for name in far
    ]


def _look_into_rows(task: Task, notes: list[str]) -> None:
    look_into_task(resolve_task(task), notes)


def _look_into_experts(task: Task, finetune: Finetune, notes: list[str]) -> None:
    look_into_experts(resolve_task(task), task, finetune, notes)


def _pace(name: str, pace: Any) -> list[str]:
    """Say how a pretraining will go, and whether it makes too few updates for its schedule."""
    line = (
        f"{name}: about {pace.updates:,} updates of {pace.batch:,} rows, {pace.tokens_per_second:,.0f} tokens/s, "
        f"{100 * pace.utilisation:.0f} % of this machine's matrix peak"
    )
    few = f"note: {pace.updates:,} updates are few; a smaller pretrain.batch or a larger pretrain.budget makes more"
    return [line, few] if pace.updates < _FEW_STEPS else [line]

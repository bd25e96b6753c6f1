"""Carry out a recipe: do what is due, skip what is sealed, give results their human names."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.errors import Interrupted, RunError
from bertwright.pipeline.executors import Job, carry_out, execute
from bertwright.pipeline.failed_runs import raise_failures, with_finished
from bertwright.pipeline.forecast import measure_stages
from bertwright.pipeline.machine import machine
from bertwright.pipeline.names import link_names, write_run_cards
from bertwright.pipeline.plan import plan, resolve_task
from bertwright.pipeline.prediction import duration, refuse
from bertwright.pipeline.preflight import look_into_experts, look_into_task
from bertwright.pipeline.results import Result, records_of, run_folder, write_page
from bertwright.pipeline.stage import Due, Stage, failures, point, standings, up_to
from bertwright.pipeline.trackers import Trackers, told, tracked
from bertwright.processes import Processes, launched
from bertwright.recipe.reading import default_recipe, load_recipe, to_yaml
from bertwright.recipe.sections import Recipe
from bertwright.stages.kinds import KINDS, SIDE_BY_SIDE
from bertwright.stages.work import MODEL, Work
from bertwright.store import POINTERS, Sealed, Store, pointers

Listener = Callable[[str, dict[str, Any]], None]
"""Receives (stage name, what it has to say); an ``event`` of begin, done, skip, or figures while it works."""


@dataclass
class _Run:
    recipe: Recipe
    store: Store
    listen: Listener
    done: dict[str, Sealed] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """What runs that failed said; what needs them is left out."""
    trackers: Trackers = field(default_factory=lambda: Trackers(()))


def as_recipe(source: Recipe | str | Path | Mapping[str, Any]) -> Recipe:
    """Return a recipe from a recipe, a file, or a mapping of sections."""
    if isinstance(source, Recipe):
        return source
    return default_recipe(**source) if isinstance(source, Mapping) else load_recipe(source)


def run(
    source: Recipe | str | Path | Mapping[str, Any],
    *,
    until: str = "evaluate",
    listen: Listener | None = None,
    command: str = "",
) -> Result:
    """Carry out a recipe up to a kind of stage and write the report.

    Sealed stages are taken as they are. Raises ``InputError`` for what the user can change (before work starts where
    that can be known), ``RunError`` for work that failed, ``RunsFailed`` where others finished; what was sealed stays.
    """
    recipe = as_recipe(source)
    if not launched():
        return _lead(recipe, until, listen or (lambda _name, _fields: None), command)
    stages = importlib.import_module("bertwright.stages.pretrain")
    if int(os.environ["RANK"]) > 0:
        stages.follow()
        return _finished(recipe, until, command)
    together = stages.launch()  # at once: the others look for this rank's store
    try:
        result = _lead(recipe, until, listen or (lambda _name, _fields: None), command)
    except BaseException:
        together.end(wait=False)
        raise
    together.end(wait=True)
    return result


def _lead(recipe: Recipe, until: str, listen: Listener, command: str) -> Result:
    planned = plan(recipe)
    stages = up_to(planned, until)
    store = Store(recipe.store)
    folder = run_folder(recipe)
    before = pointers(folder)
    states = standings(stages, store, before, whole=recipe.finetune.keep != "none")
    for choice in recipe.tasks:
        if any(states[s.name].state != "done" for s in stages if s.name.split("/")[1:2] == [choice.name]):
            look_into_task(task := resolve_task(choice), [])
            look_into_experts(task, choice, recipe.finetune, [])
    current = _Run(recipe, store, listen)
    fetched = [stage for stage in stages if stage.kind == "fetch"]
    if fetched:
        point(folder, before, fetched)
    for stage in fetched:
        _here(current, stage, states[stage.name].why)  # before the forecast, which measures what is there
    predicted = _forecast(recipe, stages, states, store, folder, listen)
    files.write_text(folder / "recipe.yaml", to_yaml(recipe))
    kept = {stage.name: before[stage.name] for stage in planned if stage.name in before}
    point(folder, kept, stages)
    due = [stage for stage in stages if stage.kind == "pretrain" and states[stage.name].state != "done"]
    with tracked(recipe.system.trackers if due else (), recipe.name, folder / "trackers", told(due)) as trackers:
        current.trackers = trackers
        for stage in stages:
            sealed = store.sealed(stage.kind, stage.identity) if states[stage.name].state == "due" else None
            if sealed is not None and "shed" in sealed.record:
                store.discard(stage.kind, stage.identity)
        _work_through(current, stages, states)
    if current.failed:
        stages = with_finished(stages, current.done)
        point(folder, kept, stages, current.failed)
        left = [s for s in stages if s.name not in current.done and s.name not in current.failed]
        states |= standings(left, store, before)
        _work_through(current, left, states)
        point(folder, kept, stages, current.failed)
    if recipe.finetune.keep == "none":
        _shed(current, planned)
    # Side by side they end in any order; all that follows reads them in the order of the plan.
    current.done = {stage.name: current.done[stage.name] for stage in stages if stage.name in current.done}
    link_names(folder, current.done)
    write_run_cards(folder, recipe.license, stages, current.done, lambda entry: _folder(current, entry))
    reused = tuple(name for name, due in states.items() if due.state == "done")
    records = replace(records_of(recipe, current.done, predicted, command, reused), failed=current.failed)
    page = write_page(records, folder, recipe) if recipe.report else None
    result = Result(folder, current.done, page, records)
    if current.failed:
        raise_failures(stages, current.failed, result)
    return result


def _shed(current: _Run, planned: Sequence[Stage]) -> None:
    """Remove the weights of runs that everything behind them in the whole plan has used, and no other recipe's run."""
    made = {sealed.folder for sealed in current.done.values()}
    behind = [stage for stage in planned if current.store.folder(stage.kind, stage.identity) not in made]
    needed = {entry.stage for stage in behind for entry in stage.inputs.values()}
    elsewhere = {
        entry["identity"]
        for path in current.store.runs.glob(f"*/{POINTERS}")
        if path.parent != run_folder(current.recipe)
        for entry in pointers(path.parent).values()
    }
    for stage in planned:
        used = stage.name in current.done and stage.name not in needed
        if stage.kind in ("finetune", "ramps") and used and stage.identity not in elsewhere:
            current.store.shed(stage.kind, stage.identity, MODEL)


def _finished(recipe: Recipe, until: str, command: str) -> Result:
    """Return what the first rank made of a recipe."""
    store, folder = Store(recipe.store), run_folder(recipe)
    stages = up_to(plan(recipe), until)
    done = _sealed(store, stages)
    page = folder / "report.html"
    return Result(folder, done, page if page.exists() else None, records_of(recipe, done, {}, command))


def _sealed(store: Store, stages: Sequence[Stage]) -> dict[str, Sealed]:
    """Return what is finished of a plan; where runs of a task failed, its scores over the others."""
    done = {s.name for s in stages if store.sealed(s.kind, s.identity)}
    return {s.name: sealed for s in with_finished(stages, done) if (sealed := store.sealed(s.kind, s.identity))}


def _work_through(current: _Run, stages: Sequence[Stage], states: Mapping[str, Due]) -> None:
    """Do each stage after its inputs: in this process, or runs and scores side by side in several.

    Of the stages that are ready the first in the plan goes first, so that one task after the other is finished. A run
    that fails takes only those along that need it.
    """
    beside = [s for s in stages if s.kind in SIDE_BY_SIDE and states[s.name].state != "done"]
    at_once = min(current.recipe.system.runs, len(beside))
    if at_once < 2:
        for stage in stages:
            if _ready(current, stage):
                with _failing_alone(current, stage):
                    _here(current, stage, states[stage.name].why)
        return
    waiting, working = list(stages), dict[Future[dict[str, Any]], Stage]()
    with Processes(at_once, threads=machine(current.recipe, "finetune").threads) as processes:
        while (ready := [stage for stage in waiting if _ready(current, stage)]) or working:
            small = [stage for stage in ready if KINDS[stage.kind].in_passing or states[stage.name].state == "done"]
            # A stage that goes alone has the machine to itself: it neither starts beside others nor they beside it.
            alone = [stage for stage in ready if stage not in beside and stage not in small]
            for stage in small or (alone if not working else ()):
                waiting.remove(stage)
                with _failing_alone(current, stage):
                    _here(current, stage, states[stage.name].why)
            if small:
                continue  # what waited for them may be ready now, and earlier in the plan
            at_work = {stage.identity for stage in working.values()}
            for stage in ready if not alone else ():
                # Of two names for one stage the second finds it done.
                if len(working) < at_once and stage.identity not in at_work:
                    at_work.add(stage.identity)
                    waiting.remove(stage)
                    working[_submit(processes, current, stage, states[stage.name].why)] = stage
            for future in wait(working, return_when=FIRST_COMPLETED).done:
                stage = working.pop(future)
                with _failing_alone(current, stage):
                    future.result()
                    _done(current, stage)


@contextlib.contextmanager
def _failing_alone(current: _Run, stage: Stage) -> Iterator[None]:
    """Let a run fail without the others; what all need, and a stop that the user asked for, end everything."""
    try:
        yield
    except Interrupted:
        raise
    except RunError as error:
        if not (KINDS[stage.kind].side_by_side or KINDS[stage.kind].in_passing):
            raise
        current.failed[stage.name] = str(error)
        current.listen(stage.name, {"event": "failed", "kind": stage.kind, "said": str(error)})


def _ready(current: _Run, stage: Stage) -> bool:
    return all(entry.stage is None or entry.stage in current.done for entry in stage.inputs.values())


def _here(current: _Run, stage: Stage, why: str) -> None:
    """Take a sealed stage as it is, or do it in this process."""
    if sealed := current.store.sealed(stage.kind, stage.identity):
        current.listen(stage.name, {"event": "skip", "kind": stage.kind, "why": why})
        current.done[stage.name] = sealed
        return
    current.listen(stage.name, {"event": "begin", "kind": stage.kind, "why": why})

    def tell(fields: dict[str, Any]) -> None:
        current.listen(stage.name, {"event": "work", **fields})
        if stage.kind == "pretrain":
            current.trackers.tell(fields)

    execute(_job(current, stage), tell)
    _done(current, stage)


def _submit(processes: Processes, current: _Run, stage: Stage, why: str) -> Future[dict[str, Any]]:
    def tell(fields: dict[str, Any]) -> None:
        beginning = {"kind": stage.kind, "why": why} if fields["event"] == "begin" else {}
        current.listen(stage.name, {**fields, **beginning})

    return processes.submit(carry_out, _job(current, stage).as_json(), tell)


def _done(current: _Run, stage: Stage) -> None:
    sealed = current.store.sealed(stage.kind, stage.identity)
    if sealed is None:
        raise RunError(f"{stage.name} was finished and is gone from the store; give the same command again")
    current.listen(stage.name, {"event": "done", "kind": stage.kind, "record": sealed.record})
    current.done[stage.name] = sealed


def _job(current: _Run, stage: Stage) -> Job:
    work = Work(
        name=stage.name,
        kind=stage.kind,
        options=stage.options,
        settings=stage.settings,
        inputs={role: _folder(current, entry) for role, entry in stage.inputs.items()},
        paths=stage.paths,
        folder=current.store.partial_folder(stage.kind, stage.identity),
        machine=machine(current.recipe, stage.kind),
        identity=stage.identity,
        license=current.recipe.license,
    )
    return Job(current.store.root, work, stage.parts, to_yaml(current.recipe))


def _folder(current: _Run, entry: Any) -> Path:
    base = current.done[entry.stage].folder if entry.stage else entry.folder
    return Path(base) / entry.inside if entry.inside else Path(base)


def _forecast(
    recipe: Recipe, stages: list[Stage], states: Mapping[str, Due], store: Store, folder: Path, listen: Listener
) -> dict[str, Any]:
    """Measure and refuse before work starts; a forecast made by an earlier try of the same work is kept."""
    path = folder / "forecast.json"
    known: dict[str, Any] = files.read_json(path) if path.exists() else {}
    fresh = [
        s for s in stages if states[s.name].state != "done" and known.get(s.name, {}).get("identity") != s.identity
    ]
    if fresh:
        why = "measures what is due: a megabyte of text, a real step of each shape"
        listen("forecast", {"event": "begin", "kind": "forecast", "why": why})
        folders = {s.name: found.folder for s in stages if (found := store.sealed(s.kind, s.identity))}
        measured = measure_stages(
            recipe,
            fresh,
            folders,
            lambda share: listen("forecast", {"event": "work", "kind": "forecast", "share": share}),
        )
        refuse(measured, recipe, store.root)
        known |= {s.name: {"identity": s.identity, **measured[s.name].as_dict()} for s in fresh if s.name in measured}
        files.write_json(path, known)
        total = duration(measured, recipe)
        listen("forecast", {"event": "done", "kind": "forecast", "seconds": total})
    return {s.name: known[s.name] for s in stages if s.name in known and known[s.name]["identity"] == s.identity}


def report(source: Recipe | str | Path | Mapping[str, Any], *, command: str = "") -> Path:
    """Write the report of what is sealed and return its page; nothing is run."""
    recipe = as_recipe(source)
    store, folder, stages = Store(recipe.store), run_folder(recipe), plan(recipe)
    done = _sealed(store, stages)
    known = files.read_json(folder / "forecast.json") if (folder / "forecast.json").exists() else {}
    failed = {name: said for name, said in failures(stages, pointers(folder)).items() if name not in done}
    return write_page(replace(records_of(recipe, done, known, command), failed=failed), folder, recipe)


def prepare(source: Recipe | str | Path | Mapping[str, Any], listen: Listener | None = None) -> Result:
    """Turn raw text into a tokenizer and rows of tokens."""
    return run(source, until="prepare", listen=listen)


def pretrain(source: Recipe | str | Path | Mapping[str, Any], listen: Listener | None = None) -> Result:
    """Pretrain the encoder, after what it needs."""
    return run(source, until="pretrain", listen=listen)


def finetune(source: Recipe | str | Path | Mapping[str, Any], listen: Listener | None = None) -> Result:
    """Fine-tune all tasks, after what they need."""
    return run(source, until="finetune", listen=listen)


def evaluate(source: Recipe | str | Path | Mapping[str, Any], listen: Listener | None = None) -> Result:
    """Score all tasks, after what that needs."""
    return run(source, until="evaluate", listen=listen)

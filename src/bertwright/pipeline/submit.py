"""From a recipe with tasks of GLUE to the zip that its server takes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.errors import InputError
from bertwright.pipeline.plan import resolve_task
from bertwright.pipeline.results import Result
from bertwright.pipeline.run import Listener, as_recipe, run
from bertwright.recipe.sections import Recipe
from bertwright.recipe.task import Task as TaskChoice
from bertwright.reports.words import metric_text, score_text
from bertwright.stages.work import MODEL, PACK
from bertwright.tasks import catalogue
from bertwright.tasks.readers import read
from bertwright.tasks.submission import EXPECTED, by_index, check_submission, write_submission
from bertwright.tasks.task import Task

# The zip's files by known task and part of its test.
_FILES = {
    "cola": {"test": "CoLA"},
    "sst2": {"test": "SST-2"},
    "mrpc": {"test": "MRPC"},
    "stsb": {"test": "STS-B"},
    "qqp": {"test": "QQP"},
    "mnli": {"test_matched": "MNLI-m", "test_mismatched": "MNLI-mm", "ax": "AX"},
    "qnli": {"test": "QNLI"},
    "rte": {"test": "RTE"},
    "wnli": {"test": "WNLI"},
}
_MAJORITY = "not_entailment"


@dataclass(frozen=True)
class _Test:
    """A test file: the file of the zip that it is answered in, and the task that answers it."""

    name: str
    task: Task
    path: Path


@dataclass(frozen=True)
class Submitted:
    """The zip, how each of its files was made, and what the server would still miss."""

    path: Path
    files: Mapping[str, str]
    faults: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"path": str(self.path), "files": dict(self.files), "faults": list(self.faults)}


def submit(
    source: Recipe | str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    wnli: str = "majority",
    listen: Listener | None = None,
) -> Submitted:
    """Carry out a recipe, answer the test files of its GLUE tasks, and write the zip.

    Each task is answered by the run of its first variant that is best on the headline's set. ``wnli`` is "majority"
    (its dev set contradicts its training set: the commonest label scores more than most models do) or "model".
    ``InputError`` where there is nothing to submit.
    """
    recipe = as_recipe(source)
    if wnli not in ("majority", "model"):
        raise InputError(f"wnli is {wnli!r}; it is majority or model")
    tests = [one for choice in recipe.tasks if choice.known in _FILES for one in _tests(choice)]
    if not tests:
        raise InputError(
            "no task of the recipe has a test file of GLUE: a task needs `known` (one of "
            f"{', '.join(_FILES)}) and a folder with its test file, or `unlabelled: {{test: FILE}}`"
        )
    _look_ahead(recipe, tests, Path(out))
    result = run(recipe, listen=listen)
    answers: dict[str, list[str | float]] = {}
    told: dict[str, str] = {}
    answer_file = importlib.import_module("bertwright.stages.submit").answer_file
    place = {"device": recipe.system.device, "precision": recipe.system.precision}
    for one in tests:
        if one.name != "WNLI" or wnli == "model":
            folder, max_length, told[one.name] = _best_run(result, one.task.name)
            answers[one.name] = answer_file(folder, one.task, one.path, max_length=max_length, **place)
    if wnli == "majority":
        answers["WNLI"], told["WNLI"] = [_MAJORITY] * EXPECTED["WNLI"].rows, f"the commonest label, {_MAJORITY}"
    ordered = {name: answers[name] for name in EXPECTED if name in answers}
    write_submission(Path(out), ordered)
    return Submitted(Path(out), {name: told[name] for name in ordered}, tuple(check_submission(Path(out))))


def _look_ahead(recipe: Recipe, tests: Sequence[_Test], out: Path) -> None:
    """Refuse before any work what could not be written after it."""
    if out.exists() or not out.parent.is_dir():
        what = "is there already" if out.exists() else f"lies in {out.parent}, which is no folder"
        raise InputError(f"{out} {what}; name another file")
    if recipe.finetune.keep == "none":
        raise InputError("a submission needs the runs' weights, and `finetune.keep` is none; take `best`")
    for choice in recipe.tasks:
        if choice.unlabelled and choice.known not in _FILES:
            raise InputError(f"task {choice.name}: `unlabelled` is for tasks of GLUE ({', '.join(_FILES)})")
    answered: dict[str, str] = {}
    for one in tests:
        if (other := answered.setdefault(one.name, one.task.name)) != one.task.name:
            raise InputError(f"tasks {other} and {one.task.name} would both answer {one.name}.tsv; leave one out")
        rows = read(one.path, text=one.task.text, label=None, kind=one.task.kind, layout=one.task.layout)
        count, wanted = len(by_index(rows)), EXPECTED[one.name].rows
        if count != wanted:
            raise InputError(f"{one.path} has {count} rows, and {one.name}'s test file {wanted}; take that one")


def _tests(choice: TaskChoice) -> list[_Test]:
    """Return the test files of a task: those that are named, and for the rest what its folder holds."""
    parts = _FILES[str(choice.known)]
    unknown = sorted(choice.unlabelled.keys() - parts.keys())
    if unknown:
        raise InputError(
            f"task {choice.name}: `unlabelled` names {', '.join(unknown)}; the test files of {choice.known} are called "
            f"{', '.join(parts)}"
        )
    found = catalogue.unlabelled(str(choice.known), choice.folder, tuple(parts)) if choice.folder else {}
    paths = {**found, **choice.unlabelled}
    task = resolve_task(choice) if paths else None
    return [_Test(parts[part], task, path) for part, path in paths.items()] if task else []


def _best_run(result: Result, task: str) -> tuple[Path, int, str]:
    """Return the model of the seed that is best on the headline's set, its longest row, and what it is."""
    record = result.stages[f"evaluate/{task}"].record
    found, options = record["results"], record["parts"]["options"]
    variant, (where, metric) = found["variants"][0], (found["headline"]["set"], found["headline"]["metric"])
    values = variant["scores"][where][metric]["values"]
    value, seed = max(
        zip(values, variant["seeds"], strict=True), key=lambda one: -float("inf") if one[0] is None else one[0]
    )
    name = f"finetune/{task}/{variant['variant']}/seed-{seed}"
    run = result.stages[name].folder
    folder = run if (run / PACK).is_file() else run / MODEL
    if not folder.is_dir():
        raise InputError(f"the weights of {name} were not kept; set `finetune.keep: best` and give the command again")
    of = f", the best of {len(values)} seeds" if len(values) > 1 else ""
    return folder, options["max_length"], f"{name}: {metric_text(metric)} {score_text(value, metric)} on {where}{of}"

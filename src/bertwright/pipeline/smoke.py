"""The same recipe at toy size: does it go all the way?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bertwright.demo.write import write_demo
from bertwright.pipeline.as_published import has_exits
from bertwright.recipe.debias import Expert
from bertwright.recipe.exits import HOLDOUT, Exits
from bertwright.recipe.methods import Grid, Method
from bertwright.recipe.sections import Encoder, Finetune, Pretrain, Recipe
from bertwright.recipe.task import LabelledSet, Task
from bertwright.recipe.text import Prepare, Source, Tokenizer
from bertwright.tasks import catalogue
from bertwright.units import Amount

_DOCUMENTS = 200
_VOCABULARY, _NEW, _LENGTH = 384, 8, 64
_TRAIN_ROWS = 200  # of a task that stands in for another
_STEPS = Amount("steps", 20.0)
_BATCH = 8
_RATES = (1e-4, 3e-4)
_LARGE_RATES = (3e-4, 1e-3)
_OF_A_TASK = ("epochs", "batch", "learning_rate")
_EXIT_LAYERS, _TIMED, _SEEDS = 3, 4, 2
_NAMED = 3  # tasks that a sentence names one by one
_SHAPE = {"layers": 2, "width": 64, "heads": 2, "inner": 128}


def smoke(recipe: Recipe) -> Recipe:
    """Return a recipe that takes the same way at toy size: made-up text, a toy encoder, twenty updates, one epoch.

    A model folder, ready rows and tasks stay what they are, and take the time they take; where they are not there, a
    toy encoder and tasks of the made-up language stand in for them. Results go to a run of their own.
    """
    changes: dict[str, object] = {"name": f"{recipe.name}-smoke"}
    given = recipe.encoder.folder is not None and recipe.encoder.folder.exists()
    made_up = recipe.store / "smoke"
    if recipe.prepare is not None and recipe.prepare.sources:
        changes["prepare"] = _prepare(recipe.prepare, write_demo(made_up, documents=_DOCUMENTS).parent / "corpus")
        if recipe.encoder.folder is None and (recipe.tokenizer is None or recipe.tokenizer.folder is None):
            wanted = recipe.tokenizer or Tokenizer()
            changes["tokenizer"] = wanted.model_copy(update={"vocabulary": _VOCABULARY})
        elif recipe.tokenizer is not None and recipe.tokenizer.extend is not None:
            changes["tokenizer"] = recipe.tokenizer.model_copy(update={"extend": min(_NEW, recipe.tokenizer.extend)})
    if not given:
        shape = {**_SHAPE, **({"layers": _EXIT_LAYERS} if has_exits(recipe) else {})}
        # A second thread brings products of width 64 nothing, and where the processor is busy each waits for the other.
        changes["system"] = recipe.system.model_copy(
            update={"threads": recipe.system.threads or max(1, recipe.system.runs)}
        )
        changes["encoder"] = Encoder.model_copy(recipe.encoder, update={**shape, "folder": None, "add_missing": False})
    if recipe.encoder.folder is not None and not given and recipe.prepare is None:
        text = write_demo(made_up, documents=_DOCUMENTS).parent / "corpus"
        changes["prepare"] = _prepare(None, text)
        changes["tokenizer"] = Tokenizer(vocabulary=_VOCABULARY)
        changes["pretrain"] = _pretrain(Pretrain())
    if recipe.pretrain is not None:
        changes["pretrain"] = _pretrain(recipe.pretrain)
    tasks = tuple(_task(task, made_up) for task in recipe.tasks)
    # Where a made-up task stands in, what reads a part of its texts reads its second column.
    stands_in = any(not _is_here(task) for task in recipe.tasks)
    column = ("hypothesis",) if stands_in else None
    changes["finetune"] = _finetune(recipe.finetune, column)
    changes["tasks"] = tuple(
        one.model_copy(update={"trainable": one.trainable and tuple(_method(m, column) for m in one.trainable)})
        for one in tasks
    )
    return recipe.model_copy(update=changes)


def _is_here(task: Task) -> bool:
    return all(path.exists() for path in _paths(task))


def stand_ins(recipe: Recipe, small: Recipe) -> list[str]:
    """Return a sentence on what is made up in ``small``, the smoke of ``recipe``, and which files are not there.

    None where text, encoder and tasks are the recipe's own.
    """
    pairs = list(zip(recipe.tasks, small.tasks, strict=True))
    tasks = [own.name for own, made in pairs if (own.folder, own.train) != (made.folder, made.train)]
    toys = small.finetune.experts
    experts = [name for name, one in recipe.finetune.experts.items() if toys[name].encoder != one.encoder]
    made_up = ["the text"] if recipe.prepare != small.prepare else []
    made_up += ["a toy encoder"] if recipe.encoder != small.encoder else []
    made_up += [f"a toy encoder of expert {name}" for name in experts]
    if tasks:
        many = len(tasks) == len(pairs) > _NAMED
        made_up.append(f"all {len(tasks)} tasks" if many else f"the rows of {', '.join(tasks)}")
    if not made_up:
        return []
    encoders = [recipe.encoder.folder, *(recipe.finetune.experts[name].encoder for name in experts)]
    paths = [path for path in encoders if path is not None]
    paths += [path for task in recipe.tasks for path in _paths(task)]
    missing = list(dict.fromkeys(path for path in paths if not path.exists()))
    return [f"made up for this smoke run: {', '.join(made_up)}{_not_there(missing)}"]


def _not_there(missing: list[Path]) -> str:
    """Name the files and folders that are not there, so that a mistyped path does not look as if it had been tried."""
    if len(missing) < 2:
        return "".join(f" ({path} is not there)" for path in missing)
    above = Path(os.path.commonpath([path.parent for path in missing]))
    return f" (not there in {above}: {', '.join(str(path.relative_to(above)) for path in missing)})"


def _paths(task: Task) -> list[Path]:
    return [path for path in (task.folder, task.train, *(one.file for one in task.sets.values())) if path]


def _task(task: Task, made_up: Path) -> Task:
    """Return a task that is learnt for one epoch; where its files are not there, one of the made-up language."""
    exits, seeds = _exits(task.exits), task.seeds and min(_SEEDS, task.seeds)
    if _is_here(task):
        return task.model_copy(update={**dict.fromkeys(_OF_A_TASK), "seeds": seeds, "exits": exits})
    known = catalogue.known_task(task.known) if task.known else None
    kind, text = (known.kind, known.text) if known else (task.kind, task.text or ())
    name = "similarity" if kind == "regression" else "topic" if len(text) == 1 else "inference"
    tasks = write_demo(made_up, documents=_DOCUMENTS).parent / "tasks" / name
    suffix = ".csv" if name == "topic" else ".jsonl"
    columns = {"similarity": ("first", "second"), "topic": ("text",), "inference": ("premise", "hypothesis")}[name]
    return Task(
        name=task.name,
        kind="regression" if name == "similarity" else "classification",
        train=tasks / f"train{suffix}",
        sets={"dev": LabelledSet(file=tasks / f"dev{suffix}")},
        text=columns,
        seeds=seeds,
        train_rows=_TRAIN_ROWS,
        start_from=task.start_from,
        trainable=task.trainable,
        exits=exits,
    )


def _finetune(choice: Finetune, column: tuple[str, ...] | None) -> Finetune:
    """Return one epoch of two seeds, and two rates where a protocol or a grid tries more than one setting."""
    small: dict[str, Any] = {"epochs": 1.0, "seeds": min(_SEEDS, choice.seeds)}
    small["trainable"] = tuple(_method(one, column) for one in choice.trainable)
    small["exits"] = _exits(choice.exits)
    small["experts"] = {name: _expert(one, column) for name, one in choice.experts.items()}
    if choice.protocol is None and choice.grid is None:
        return choice.model_copy(update=small)
    same = (
        "select_on",
        "select_by",
        "halving",
        "keep",
        "baseline",
        "at_checkpoints",
        "pack",
        "score_train",
        "shortcuts",
    )
    kept = {name: getattr(choice, name) for name in same}
    return Finetune(**small, **kept, grid=Grid(learning_rate=_RATES))


def _method(choice: Method, column: tuple[str, ...] | None) -> Method:
    """Return a method with settings of its own made small too."""
    update: dict[str, Any] = {"epochs": None if choice.epochs is None else 1.0, "exits": _exits(choice.exits)}
    if choice.loss is not None and choice.loss.columns and column is not None:
        update["loss"] = choice.loss.model_copy(update={"columns": column})
    return choice.model_copy(update={**update, "grid": choice.grid and Grid(learning_rate=_LARGE_RATES)})


def _exits(choice: Exits | None) -> Exits | None:
    """Return exits after every layer, timed on few rows; rows to calibrate on are kept back from what stands in."""
    if choice is None:
        return None
    own = {"layers": (), "timed_rows": _TIMED, "calibrate_on": HOLDOUT}
    return choice.model_copy(update=own if choice.together else {**own, "epochs": 1.0})


def _expert(choice: Expert, column: tuple[str, ...] | None) -> Expert:
    """Return an expert of at most two folds and one epoch; a small model that is not there is drawn."""
    if choice.kind == "file":
        return choice
    given = {name: getattr(choice, name) for name in choice.model_fields_set - {"encoder"}}
    if choice.encoder is not None and choice.encoder.exists():
        given["encoder"] = choice.encoder
    elif choice.kind == "small-model":
        given |= {"layers": 1, "width": 32, "heads": 2, "inner": 64}
    small = {"folds": min(2, choice.folds), "epochs": 1.0, "rows": choice.rows and min(100, choice.rows)}
    part = {"columns": column} if column is not None and choice.columns else {}
    return Expert(**{**given, **small, **part})


def _prepare(choice: Prepare | None, text: Path) -> Prepare:
    # Near-duplicates need an extra, and the rest of the cleaning has nothing to find in made-up text.
    like = {} if choice is None else {"row_length": min(choice.row_length, _LENGTH), "rows": choice.rows}
    return Prepare(sources=(Source(path=text),), held_out=0.02, **{"row_length": _LENGTH, **like})


def _pretrain(choice: Pretrain) -> Pretrain:
    off = {"micro_batch": None, "give_up_after": None, "give_up_loss": None}
    start = None if choice.batch_start is None else _BATCH // 2
    return choice.model_copy(update={"budget": _STEPS, "batch": _BATCH, "batch_start": start, "evaluations": 2, **off})

"""From a recipe to its stages: what each depends on, and its identity.

Planning reads the checksums of the user's files and nothing else: it needs no torch and trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright.errors import DataError
from bertwright.pipeline.plan_tasks import plan_tasks
from bertwright.pipeline.preflight import sources_of
from bertwright.pipeline.settings import without_result
from bertwright.pipeline.stage import UNTRAINED, Input, Stage, Stages, Variant, given_folder
from bertwright.recipe.fields import Section
from bertwright.recipe.sections import Recipe
from bertwright.recipe.task import LabelledSet
from bertwright.recipe.task import Task as TaskChoice
from bertwright.recipe.text import Prepare, Tokenizer
from bertwright.stages.work import MODEL, model_at
from bertwright.tasks import catalogue
from bertwright.tasks.task import DEFAULT_METRICS, SetForm, Task
from bertwright.text.sources import expand


class _Planner(Stages):
    """Plans text and encoders of one recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.own_tokenizer: Input | None = None
        """The given encoder's tokenizer, where the continued one has another."""

    def text(self) -> tuple[Input | None, Input | None]:
        """Plan tokenizer and rows; return them (either may be missing)."""
        recipe = self.recipe
        prepare, folder = recipe.prepare, recipe.tokenizer.folder if recipe.tokenizer else None
        if prepare is not None and prepare.ready is not None:
            ready = given_folder(prepare.ready, ("manifest.json", "tokenizer/tokenizer.json"), "prepare.ready")
            return Input(ready.identity, folder=prepare.ready, inside="tokenizer"), ready
        folder = folder or recipe.encoder.folder
        tokenizer = given_folder(folder, ("tokenizer.json",), "tokenizer.folder") if folder else None
        if prepare is None:
            return tokenizer, None
        sources = expand(sources_of(prepare))
        paths = {f"source {number:05d}": source.path for number, source in enumerate(sources)}
        fetched = self.fetched(prepare)
        reading = {
            "sources": [[file.format, file.compression, file.column, file.boundary, file.source] for file in sources],
            "errors": prepare.errors,
            "broken_rows": prepare.broken_rows,
        }
        choices = plain(prepare, leave={"sources", "ready", "errors", "broken_rows", "overlap"})
        cleaning = {name: choices[name] for name in ("nfc", "control_characters", "shortest", "longest")}
        wanted = recipe.tokenizer or Tokenizer()
        if tokenizer is None:
            options = {**reading, **cleaning, **plain(wanted, leave={"folder", "extend"})}
            tokenizer = self.add("tokenizer", "tokenizer", options, inputs=fetched, paths=paths)
        elif wanted.extend is not None:
            self.own_tokenizer = tokenizer
            options = {**reading, **cleaning, "extend": wanted.extend}
            inputs = {"tokenizer": tokenizer, **fetched}
            tokenizer = self.add("tokenizer", "tokenizer", options, inputs=inputs, paths=paths)
        inputs = {"tokenizer": tokenizer, **fetched}
        if recipe.tasks and prepare.overlap:
            overlap = self.overlap({**reading, **cleaning}, inputs, paths)
            inputs = inputs | ({"overlap": overlap} if prepare.overlap == "remove" else {})
        shares = tuple(source.share for source in prepare.sources if source.share is not None)
        mix = {"weights": [source.weight for source in prepare.sources], "shares": shares}
        options = {**reading, **choices, "mix": mix, "seed": recipe.seed}
        return tokenizer, self.add("prepare", "prepare", options, inputs=inputs, paths=paths)

    def fetched(self, prepare: Prepare) -> dict[str, Input]:
        """Plan the fetching of the hub's datasets; return them by role, which tells the number of the source."""
        keys = ("hub", "config", "split", "revision", "column")
        return {
            f"hub {number:05d}": self.add(f"fetch/{number + 1}", "fetch", {key: getattr(source, key) for key in keys})
            for number, source in enumerate(prepare.sources)
            if source.hub is not None
        }

    def overlap(self, reading: Mapping[str, Any], inputs: Mapping[str, Input], paths: Mapping[str, Path]) -> Input:
        """Plan the search for the tasks' rows in the text."""
        tasks = [resolve_task(choice) for choice in self.recipe.tasks]
        rows = {
            f"task {task.name} {name}": path
            for task in tasks
            for name, path in {"train": task.train, **task.sets}.items()
        }
        options = {**reading, "tasks": [task.as_read().options() for task in tasks]}
        return self.add("overlap", "overlap", options, inputs=inputs, paths={**paths, **rows})

    def encoders(self, tokenizer: Input, rows: Input | None) -> list[Variant]:
        """Plan the encoders to fine-tune; return them with their tokenizers, the main one first."""
        recipe = self.recipe
        precision = recipe.system.precision
        folder = recipe.encoder.folder
        given = given_folder(folder, ("config.json",), "encoder.folder", "*.safetensors") if folder else None
        shape_of = plain(recipe.encoder, leave={"folder", "add_missing"})
        shape = {"seed": recipe.seed, **({} if given else {"encoder": shape_of})}
        own = self.own_tokenizer or tokenizer
        if given and recipe.encoder.add_missing:
            inputs = {"given": given, "tokenizer": own}
            given = self.add("with-biases", "biases", {}, inputs=inputs, inside=MODEL)
        like = {"tokenizer": own, **({"like": given} if given else {})}

        def untrained() -> Variant:
            return Variant(UNTRAINED, self.add("untrained", "initialise", shape, inputs=like, inside=MODEL), own)

        variants = []
        if recipe.pretrain is not None and rows is not None:
            options, settings = without_result(plain(recipe.pretrain))
            second = options.pop("second_text")
            options = {"pretrain": options, "precision": precision, **shape}
            inputs = {"rows": rows, "tokenizer": tokenizer, **({"start": given} if given else {})}
            paths = {"second_text": Path(second)} if second else {}
            main = self.add(
                "pretrain", "pretrain", options, settings=settings, inputs=inputs, paths=paths, inside=MODEL
            )
            name = "continued" if given else "pretrained"
            variants.append(Variant(name, main, tokenizer))
            for share in recipe.pretrain.save_at if recipe.finetune.at_checkpoints else ():
                saved = replace(main, inside=model_at(share))
                variants.append(Variant(f"{name}-{100 * share:g}", saved, tokenizer))
        elif given is not None:
            variants.append(Variant("given", given, own))
        elif recipe.tasks:
            variants.append(untrained())
        if recipe.finetune.baseline and recipe.tasks:
            if given is not None and recipe.pretrain is not None:
                variants.append(Variant("given", given, own))
            if variants[0].name != UNTRAINED:
                variants.append(untrained())
        return variants


def plan(recipe: Recipe) -> tuple[Stage, ...]:
    """Return the stages of a recipe in an order in which they can run; ``DataError`` where a file is missing."""
    planner = _Planner(recipe)
    tokenizer, rows = planner.text()
    if tokenizer is not None:
        variants = planner.encoders(tokenizer, rows)
        plan_tasks(recipe, {choice.name: resolve_task(choice) for choice in recipe.tasks}, variants, planner)
    return tuple(planner.planned.values())


def resolve_task(choice: TaskChoice) -> Task:
    """Return the task that a recipe's entry means: a known one with its files, or the user's own."""
    sets = {name: one.file for name, one in choice.sets.items()}
    if choice.known is not None:
        task = catalogue.locate(choice.known, choice.folder, called=choice.name, train=choice.train, sets=sets)
    elif choice.train is None or choice.text is None:
        raise DataError(f"task {choice.name}: no training file or text column; give `train` and `text`, or `known`")
    else:
        task = Task(
            name=choice.name,
            kind=choice.kind,
            text=choice.text,
            label=choice.label,
            train=choice.train,
            sets=sets,
            metrics=choice.metrics or DEFAULT_METRICS[choice.kind],
            positive=choice.positive,
            none_label=choice.none_label,
            label_separator=choice.label_separator,
            documents=choice.documents,
        )
    task = replace(
        task,
        class_weights=choice.class_weights,
        window_stride=choice.window_stride,
        train_rows=choice.train_rows,
    )
    task = replace(task, groups=choice.groups) if choice.groups else task
    return replace(task, forms={name: form for name, one in choice.sets.items() if (form := _form(task, one))})


def _form(task: Task, choice: LabelledSet) -> SetForm | None:
    """Return how a set is read and scored where that is not as its task."""
    if choice.known is None:
        return replace(task.own_form, groups=choice.groups) if choice.groups else None
    form = catalogue.form_of(task, choice.known, merge=choice.merge)
    return replace(form, groups=choice.groups) if choice.groups else form


def plain(section: Section, leave: Set[str] = frozenset()) -> dict[str, Any]:
    """Return a section as plain JSON values."""
    return section.model_dump(mode="json", exclude=set(leave))

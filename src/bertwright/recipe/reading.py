"""From a recipe's file to its sections: lines, overrides, and every fault at once.

A fault names file, line and key, what was found, what is allowed and the nearest key that exists.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bertwright.errors import Problem, RecipeError
from bertwright.recipe import yaml_text
from bertwright.recipe.debias import TEACHER
from bertwright.recipe.fields import Section, near_name
from bertwright.recipe.methods import Method
from bertwright.recipe.overrides import Key, keys_changed, set_override
from bertwright.recipe.presets import with_preset
from bertwright.recipe.sections import Recipe

_WIDTH = 200  # characters of a value in a message


@dataclass(frozen=True)
class Draft:
    """A recipe as far as it could be read: the faults found, and the sections that have none."""

    source: Path | str
    problems: tuple[Problem, ...]
    sections: Mapping[str, Any]
    lines: Mapping[Key, int | None]
    recipe: Recipe | None

    def problem(self, key: Key, message: str) -> Problem:
        """Return a problem at a key, with the line of the nearest part of the key that stands in the file."""
        return Problem(dotted(key), line_of(key, self.lines), message)


def load_recipe(path: str | Path, overrides: Sequence[str] = (), *, stand_ins: bool = False) -> Recipe:
    """Read a recipe from a YAML file, with ``a.b=c`` overrides; ``RecipeError`` lists all faults.

    With ``stand_ins`` files and folders need not be there: something else will stand in for them.
    """
    return _whole(draft_recipe(path, overrides, stand_ins=stand_ins))


def default_recipe(name: str = "encoder", *, folder: str | Path | None = None, **sections: Any) -> Recipe:
    """Return a recipe from sections as plain dicts, as a file of them would; paths resolve against ``folder``."""
    document = {"name": name, **sections}
    context = {"folder": Path(folder) if folder is not None else Path.cwd()}
    return _whole(_validated(document, "recipe", {}, context, []))


def draft_recipe(path: str | Path, overrides: Sequence[str] = (), *, stand_ins: bool = False) -> Draft:
    """Read a recipe without raising for its content; ``RecipeError`` only where the file cannot be read at all."""
    path = Path(path)
    try:
        text = yaml_text.read_text(path)
        node, document = yaml_text.parsed(text)
    except FileNotFoundError:
        raise RecipeError(
            path,
            [Problem("", None, f"there is no such file; {_near_recipe(path)}`bertwright init` writes a first recipe")],
        ) from None
    except IsADirectoryError:
        raise RecipeError(path, [Problem("", None, "is a folder; name a recipe, a YAML file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            path, [Problem("", None, f"cannot be read as UTF-8 text ({error}); name a recipe")]
        ) from error
    except yaml_text.Refused as error:
        raise RecipeError(path, [Problem("yaml", error.line, str(error))]) from error
    if not isinstance(document, dict):
        raise RecipeError(
            path, [Problem("", None, "found no sections; a recipe is a YAML mapping such as `prepare:`, `pretrain:`")]
        )
    lines: dict[Key, int | None] = {}
    problems: list[Problem] = []
    _locate(node, (), lines, problems)
    for override in overrides:
        set_override(document, override, problems)
        lines |= dict.fromkeys(keys_changed(override, lines))
    document.setdefault("name", path.stem)
    return _validated(document, path, lines, {"folder": path.resolve().parent, "stand_ins": stand_ins}, problems)


def to_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML that reads back to the same recipe."""
    return yaml.safe_dump(_told(recipe, recipe.model_dump(mode="json", exclude=_unset(recipe))), sort_keys=False)


def _told(section: Section, content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is off by itself, and write false where a choice that is on by itself was switched off."""
    told: dict[str, Any] = {}
    for name, value in content.items():
        own, usual = getattr(section, name), type(section).model_fields[name].default
        if value is None:
            told |= {} if usual is None else {name: False}
        elif isinstance(own, Section):
            told[name] = _told(own, value) if isinstance(value, Mapping) else value
        elif isinstance(own, tuple) and own and isinstance(own[0], Section):
            told[name] = [
                _told(one, part) if isinstance(part, dict) else part for one, part in zip(own, value, strict=True)
            ]
        else:
            told[name] = value
    return told


def dotted(key: Key) -> str:
    """Write a key as a user writes it in an override."""
    return ".".join(str(part) for part in key)


def line_of(key: Key, lines: Mapping[Key, int | None]) -> int | None:
    """Return the line of a key or of its nearest part that stands in the file; none for what an override gave."""
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key)


def _whole(draft: Draft) -> Recipe:
    if draft.recipe is None or draft.problems:
        raise RecipeError(draft.source, list(draft.problems))
    return draft.recipe


def _unset(recipe: Recipe) -> Any:
    """Leave out what another key forbids, and the preset: what it filled in stands where it belongs."""
    brought = set(type(recipe.encoder).model_fields) - {"folder", "add_missing"}
    encoder = brought if recipe.encoder.folder is not None else set()
    tasks = {
        index: {"kind", "text", "label", "metrics", "positive", "none_label", "label_separator", "documents"}
        for index, task in enumerate(recipe.tasks)
        if task.known is not None
    }
    extended = recipe.tokenizer is not None and recipe.tokenizer.extend is not None
    tokenizer = {"kind", "vocabulary", "lowercase"} if extended else set()
    # What a recipe sets itself stands before its protocol: written out, the defaults would.
    finetune = recipe.finetune
    # A value that a method, a grid, exits or a protocol bring must not come back as one that the recipe sets.
    methods = [*finetune.trainable, *(one for task in recipe.tasks for one in task.trainable or ())]
    exits = [finetune.exits, *(task.exits for task in recipe.tasks), *(one.exits for one in methods)]
    brings = any(one.method != "full" or one.grid is not None for one in methods)
    tried = (
        brings
        or any(one is not None and one.together for one in exits)
        or finetune.protocol is not None
        or finetune.grid is not None
    )
    implied = set(type(finetune).model_fields) - finetune.model_fields_set if tried else set()
    parts = {"encoder": encoder, "tasks": tasks, "tokenizer": tokenizer, "finetune": implied}
    return {"preset": True, **{key: value for key, value in parts.items() if value}}


def _locate(node: yaml.Node | None, key: Key, lines: dict[Key, int | None], problems: list[Problem]) -> None:
    """Note the line of every key; a key given twice is a problem (YAML would keep the last in silence)."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            line = name.start_mark.line + 1
            if name.value in seen:
                problems.append(Problem(dotted((*key, name.value)), line, "this key stands twice; keep one"))
            seen.add(name.value)
            lines[(*key, name.value)] = line
            _locate(value, (*key, name.value), lines, problems)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key, index)] = value.start_mark.line + 1
            _locate(value, (*key, index), lines, problems)


def _near_recipe(path: Path) -> str:
    """Return a question after a recipe in the same folder, by whose name this one may be meant."""
    near = near_name(path)
    return f"did you mean {near}? " if near is not None and near.suffix in (".yaml", ".yml") else ""


def _validated(
    document: dict[str, Any],
    source: Path | str,
    lines: Mapping[Key, int | None],
    context: dict[str, Any],
    problems: list[Problem],
) -> Draft:
    """Check each section apart, so that a fault in one hides none in another, then the recipe whole."""
    sections: dict[str, Any] = {}
    # `off` is false in YAML: a switched-off section is an absent one.
    document = {key: value for key, value in with_preset(document).items() if not (value is False and key != "report")}
    document.setdefault("store", "bertwright-store")
    for name, value in document.items():
        if name == "tasks" and isinstance(value, list):
            parts = [_part({"name": "x", "tasks": [task]}, context) for task in value]
            for index, (_, faults) in enumerate(parts):
                problems += [_problem(("tasks", index, *fault["loc"][2:]), fault, document, lines) for fault in faults]
            sections[name] = tuple(part.tasks[0] if part else None for part, _ in parts)
        else:
            part, faults = _part({"name": "x", name: value}, context)
            problems += [_problem(tuple(fault["loc"]), fault, document, lines) for fault in faults]
            if part is not None:
                sections[name] = getattr(part, name)
    recipe = None
    if not problems:
        recipe = Recipe.model_validate(document, context=context)
        problems += [Problem(dotted(key), line_of(key, lines), message) for key, message in _contradictions(recipe)]
    return Draft(source, tuple(problems), sections, lines, recipe)


def _part(content: dict[str, Any], context: dict[str, Any]) -> tuple[Recipe | None, list[Any]]:
    try:
        return Recipe.model_validate(content, context=context), []
    except ValidationError as error:
        return None, error.errors()


def _contradictions(recipe: Recipe) -> list[tuple[Key, str]]:
    """Find what only the whole recipe shows."""
    found: list[tuple[Key, str]] = []
    if recipe.pretrain is not None and recipe.prepare is None:
        found.append(
            (
                ("pretrain",),
                "needs text: add `prepare` with `sources` or `ready`, or switch pretraining off (`pretrain: off`)",
            )
        )
    elif recipe.prepare is None and recipe.encoder.folder is None:
        found.append((("encoder",), "nothing to work on: give text in `prepare`, or a model in `encoder.folder`"))
    # Rows that are handed in have a length of their own, and a given encoder its own positions: stages compare those.
    fresh = recipe.prepare is not None and recipe.prepare.sources and recipe.encoder.folder is None
    if fresh and recipe.prepare and recipe.prepare.row_length > recipe.encoder.positions:
        lengths = f"{recipe.prepare.row_length} is more than encoder.positions ({recipe.encoder.positions})"
        found.append((("prepare", "row_length"), lengths))
    tokenizer, given = recipe.tokenizer, recipe.encoder.folder is not None
    if tokenizer and tokenizer.folder is None and tokenizer.extend is None and given:
        found.append(
            (
                ("tokenizer",),
                "the encoder's folder brings its own tokenizer; remove this section, give `folder`, or `extend` it",
            )
        )
    if tokenizer and tokenizer.extend is not None and (recipe.encoder.folder is None or recipe.pretrain is None):
        wanted = "an encoder that is continued: give `encoder.folder` and `pretrain`, or train a tokenizer"
        found.append((("tokenizer", "extend"), f"new pieces need {wanted} (`vocabulary`)"))
    if recipe.finetune.at_checkpoints and recipe.pretrain is not None and recipe.pretrain.give_up_after is not None:
        message = "a training that is given up does not come to `save_at`; take out this or `pretrain.give_up_after`"
        found.append((("finetune", "at_checkpoints"), message))
    if recipe.system.compile and recipe.pretrain is not None and recipe.pretrain.batch_start is not None:
        message = "each size of a growing batch would be compiled anew; take out `batch_start` or `system.compile`"
        found.append((("pretrain", "batch_start"), message))
    if recipe.finetune.halving and not _tries_settings(recipe):
        message = "one setting is learnt, and halving is among several; give a `grid`, or take `halving` out"
        found.append((("finetune", "halving"), message))
    names = [task.name for task in recipe.tasks]
    for index, name in enumerate(names):
        if name in names[:index]:
            found.append((("tasks", index, "name"), f"two tasks are called {name!r}; names have to differ"))
    return [*found, *_starts(recipe), *_experts(recipe)]


def _tries_settings(recipe: Recipe) -> bool:
    """Whether a grid stands in the recipe, or a protocol, which may bring one."""
    finetune = recipe.finetune
    methods = [*finetune.trainable, *(one for task in recipe.tasks for one in task.trainable or ())]
    return bool(finetune.grid or finetune.protocol or any(one.grid for one in methods))


def _experts(recipe: Recipe) -> list[tuple[Key, str]]:
    """Return methods whose expert is not there, and experts that no method uses."""
    known = recipe.finetune.experts
    methods: list[tuple[Key, Method]] = [
        (("finetune", "trainable", place, "expert"), one) for place, one in enumerate(recipe.finetune.trainable)
    ]
    for number, task in enumerate(recipe.tasks):
        own: Key = ("tasks", number, "trainable")
        methods += [((*own, place, "expert"), one) for place, one in enumerate(task.trainable or ())]
    found: list[tuple[Key, str]] = []
    for key, one in methods:
        if one.expert is not None and one.expert not in known:
            near = difflib.get_close_matches(one.expert, known, n=1)
            named = f"the experts are {', '.join(known)}" if known else "finetune.experts has none"
            hint = f"did you mean {near[0]!r}?" if near else named
            found.append((key, f"the method {one.label} names the expert {one.expert!r}, which is not there; {hint}"))
    used = {one.expert for _, one in methods}
    if any(one.loss is not None and one.loss.method == "confidence" for _, one in methods):
        used.add(TEACHER)
    for name, expert in known.items():
        if name not in used:
            message = f"no method uses the expert {name}; name it as a method's `expert`, or remove it"
            found.append((("finetune", "experts", name), message))
        if (name == TEACHER) != (expert.kind == TEACHER):
            message = f"the expert {name} is of kind {expert.kind}; `teacher` is the name of the kind `teacher` alone"
            found.append((("finetune", "experts", name), message))
    return found


def _starts(recipe: Recipe) -> list[tuple[Key, str]]:
    """Return the tasks that start from a task that is not there, or from each other in a ring."""
    starts = {task.name: task.start_from for task in recipe.tasks if task.start_from not in (None, "encoder")}
    found: list[tuple[Key, str]] = []
    for index, task in enumerate(recipe.tasks):
        key, way = ("tasks", index, "start_from"), [task.name]
        if task.start_from == "encoder" and any(other.name == "encoder" for other in recipe.tasks):
            found.append((key, "`encoder` is the encoder itself, and a task is called so too; rename that task"))
        while (following := starts.get(way[-1])) is not None and following not in way:
            way.append(following)
        names = [other.name for other in recipe.tasks]
        if len(way) > 1 and way[1] not in names:
            near = difflib.get_close_matches(way[1], names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the tasks are {', '.join(names)}"
            found.append((key, f"task {task.name} starts from {way[1]!r}, which is no task of this recipe{hint}"))
        if following == task.name:
            ring = " from ".join([*way, following])
            found.append((key, f"tasks start from each other: {ring}; let one of them start from the encoder"))
    return found


def _problem(key: Key, fault: Any, document: Mapping[str, Any], lines: Mapping[Key, int | None]) -> Problem:
    """Put pydantic's fault into our words."""
    kind, found = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        section = _section_at(key[:-1])
        known = sorted(section.model_fields) if section else []
        near = difflib.get_close_matches(str(key[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`? " if near else ""
        message = f"no such key; {hint}The keys here are {', '.join(known)}"
    elif kind == "value_error":
        message = str(fault["ctx"]["error"])
    elif kind == "missing":
        message = "is missing and has to be given"
    elif kind == "literal_error":
        allowed = [word.strip(" '") for word in fault["ctx"]["expected"].replace(" or ", ",").split(",")]
        near = difflib.get_close_matches(str(found), allowed, n=1, cutoff=0.4)
        message = f"found {_shown(found)}; allowed are {', '.join(allowed)}" + (
            f"; did you mean {near[0]}?" if near else ""
        )
    else:
        message = f"found {_shown(found)}; {fault['msg'][0].lower()}{fault['msg'][1:]}"
    # Pydantic adds places of its own to the key (the branch of a union): only what was written helps a reader.
    written = _written(key, document)
    told = (*written, key[-1]) if kind == "missing" and written != key else written
    return Problem(dotted(told), line_of(told, lines), message)


def _written(key: Key, document: Any) -> Key:
    """Return the part of a key that leads somewhere in a recipe's document."""
    for depth, part in enumerate(key):
        there = isinstance(document, list) and isinstance(part, int) and part < len(document)
        if not there and not (isinstance(document, Mapping) and part in document):
            return key[:depth]
        document = document[part]
    return key


def _shown(value: Any) -> str:
    """Return a value as a message shows it: of a long one the begin."""
    try:
        told = repr(value)
    except ValueError:  # a whole number of thousands of digits
        told = f"a {type(value).__name__}"
    return told if len(told) <= _WIDTH else f"{told[:_WIDTH]} ..."


def _section_at(key: Key) -> type[BaseModel] | None:
    """Return the section that a key leads to."""
    model: type[BaseModel] = Recipe
    parts = iter(key)
    for part in parts:
        if isinstance(part, int):
            continue
        if part not in model.model_fields:
            return None
        annotation = model.model_fields[part].annotation
        section = _section_in(annotation)
        if typing.get_origin(annotation) is dict:
            next(parts, None)  # a name that the user chose
        if section is None:
            return None
        model = section
    return model


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, dict, typing.Annotated):
        return next((found for part in typing.get_args(annotation) if (found := _section_in(part))), None)
    return None

"""The commands that help to write a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bertwright import files
from bertwright.cli.console import show
from bertwright.cli.questions import ask, someone_answers
from bertwright.errors import InputError


def init_command(
    path: Annotated[Path, typer.Argument(metavar="RECIPE", help="The file to write.")] = Path("recipe.yaml"),
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", metavar="PATH", help="A file or folder of text to pretrain on; may be repeated."),
    ] = None,
    task: Annotated[
        list[Path] | None,
        typer.Option(
            "--task", metavar="FILE", help="Labelled rows to train on, which are looked into; may be repeated."
        ),
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", metavar="FOLDER", help="A model folder to start from.")
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="How long to pretrain, such as `20 min`.")
    ] = "20 min",
    from_extremebert: Annotated[
        Path | None,
        typer.Option("--from-extremebert", metavar="CONFIG", help="Turn a configuration of ExtremeBERT into it."),
    ] = None,
) -> None:
    """Write a first recipe, with a comment at each choice. Your files fill it: named, or asked for at a terminal."""
    from bertwright.pipeline.from_extremebert import from_extremebert as converted
    from bertwright.pipeline.new_recipe import new_recipe

    if path.exists():
        raise InputError(f"{path} is there already; name another file, or remove it first")
    if from_extremebert is not None:
        if text or task or encoder:
            raise InputError("--from-extremebert brings text and tasks itself; leave --text, --task and --encoder out")
        draft = converted(from_extremebert, beside=path.parent)
    else:
        if not (text or task or encoder) and someone_answers():
            told = ask(budget)
            text, task, encoder, budget = told.text, told.tasks, told.encoder, told.budget
        draft = new_recipe(path, text=text or (), tasks=task or (), encoder=encoder, budget=budget)
    files.write_text(path, draft.text)
    first = "look at it" if text or task or encoder or from_extremebert else "put your own folders in"
    lines = [*(f"note: {note}" for note in draft.notes), f"wrote {path}; {first}, then: bertwright check {path}"]
    show(lines, {"recipe": path, "notes": list(draft.notes)})


def schema_command() -> None:
    """Print the JSON schema of recipes. Editors complete and check recipes by it."""
    from bertwright.recipe.schema import recipe_schema

    schema = recipe_schema()
    show([json.dumps(schema, indent=1, ensure_ascii=False)], {"schema": schema})

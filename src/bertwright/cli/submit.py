"""The command that writes, or checks, a submission to the GLUE server."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.console import Overrides, output, show
from bertwright.errors import InputError


class _Wnli(StrEnum):
    majority = "majority"
    model = "model"


def submit_command(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A recipe with tasks of GLUE and their test files.")
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.zip", help="The zip to write.")] = Path("glue.zip"),
    wnli: Annotated[
        _Wnli, typer.Option("--wnli", help="What answers WNLI: its commonest label, or a model.")
    ] = _Wnli.majority,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE.zip", help="Check this zip; nothing is run.")
    ] = None,
) -> None:
    """Write a recipe's submission to GLUE's server; or check one.

    It is a zip of answers to the tasks' test files. What is still missing is said, and the zip is written.
    Nothing is sent anywhere.
    """
    if (recipe is None) == (check is None):
        raise InputError("give a recipe, to write a zip, or --check FILE.zip, to look into one")
    if check is not None:
        _check(check)
        return
    from bertwright.pipeline.submit import submit
    from bertwright.recipe.reading import load_recipe
    from bertwright.screen import Screen

    with Screen(quiet=output.quiet, verbose=output.verbose) as screen:
        done = submit(load_recipe(Path(str(recipe)), overrides or ()), out, wnli=wnli.value, listen=screen)
    lines = [f"{name}.tsv: {how}" for name, how in done.files.items()]
    lines += [f"not ready: {fault}" for fault in done.faults] or ["the server would take it as it is"]
    show([f"wrote {done.path}", *lines], done.as_dict())


def _check(path: Path) -> None:
    from bertwright.tasks.submission import EXPECTED, check_submission

    faults = check_submission(path)
    if faults:
        raise InputError(
            f"{path} would not be taken; mend what is told, and check it again:\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
    show([f"{path} holds all {len(EXPECTED)} files, and each is as the server wants it"], {"files": list(EXPECTED)})

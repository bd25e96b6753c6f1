"""``bertwright demo``: the whole road on a made-up language."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bertwright.cli.console import show, tell
from bertwright.cli.running import carry_out

if TYPE_CHECKING:
    from bertwright.pipeline.results import Result


def demo_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write it.")] = Path("bertwright-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the made-up language, or of the rows that are drawn.")] = 0,
    wordnet: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of WordNet's data files (apt install wordnet-base): real English text instead.",
        ),
    ] = None,
    write_only: Annotated[bool, typer.Option("--write-only", help="Write the files and run nothing.")] = False,
) -> None:
    """Write a small made-up language, and go the whole road. From text to tasks, report and packs in int8."""
    from bertwright.demo.wordnet import wordnet_files
    from bertwright.demo.write import write_demo, write_missing

    if wordnet is None:
        recipe = write_demo(folder, seed=seed)
    else:
        recipe = write_missing(folder, wordnet_files(wordnet, seed=seed))
    if write_only:
        show([f"recipe: {recipe}"], {"recipe": recipe})
    elif wordnet is not None:
        carry_out(recipe, [], "evaluate")
    else:
        carry_out(recipe, [], "evaluate", finish=lambda result: _close(result, folder))


def _close(result: Result, folder: Path) -> Result:
    """Export the packs, measure every way of a task, and write the report again with that."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"note: {' and '.join(missing)} not installed: the demo ends without int8. Expected both; "
            '`pip install "bertwright[export]"`, and the same command again adds it.',
            file=sys.stderr,
        )
        return result
    from bertwright.pipeline.every_way import close

    return close(result, folder, lambda said: tell(f"demo: {said}"))

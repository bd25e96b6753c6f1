"""The command that writes the report of a run, or compares two."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.console import Overrides, show
from bertwright.errors import InputError


def report_command(
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")] = None,
    overrides: Overrides = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Set two finished runs against each other instead: recipes, runs' folders, or their report.json.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The page of --compare, with its JSON beside it; comparison.html if not given.",
        ),
    ] = None,
    no_examples: Annotated[
        bool,
        typer.Option(
            "--no-examples",
            help="Leave out every text of your rows, and words found in them; cards and comparisons never have any.",
        ),
    ] = False,
) -> None:
    """Write the report of what is finished; or compare two runs. Nothing is run."""
    from bertwright.pipeline.run import report
    from bertwright.recipe.reading import load_recipe

    if compare is not None:
        if recipe is not None:
            raise InputError(f"--compare takes two runs and no recipe beside them; found also {recipe}, leave it out")
        _compare(*compare, out or Path("comparison.html"))
        return
    if recipe is None:
        raise InputError("report: found neither a recipe nor --compare; give a RECIPE, or --compare A B")
    if out is not None:
        raise InputError(
            f"--out {out} names the page of --compare, and a report lies in its run's folder; leave it out"
        )
    own = [*(overrides or ()), *(["report=no-examples"] if no_examples else [])]
    page = report(load_recipe(recipe, own), command=" ".join(["bertwright", *sys.argv[1:]]))
    show([f"report: {page}"], {"report": page})


def _compare(first: Path, second: Path, out: Path) -> None:
    from bertwright.pipeline.compare import compare_runs, write_comparison
    from bertwright.reports.comparison import numbers, summary_lines

    if out.suffix == ".json":
        raise InputError(f"--out {out} names the page, and its JSON stands beside it; name an .html file")
    found = compare_runs(first, second)
    page = write_comparison(found, out)
    show([*summary_lines(found), "", f"comparison: {page}"], {"comparison": page, **numbers(found)})

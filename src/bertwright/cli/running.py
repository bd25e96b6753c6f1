"""What ``run``, its single stages and ``demo`` have in common: a recipe is carried out and told of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bertwright.cli.console import output, show
from bertwright.errors import RunsFailed
from bertwright.processes import launched

if TYPE_CHECKING:
    from bertwright.pipeline.results import Result


def carry_out(
    path: Path,
    overrides: list[str] | None,
    until: str,
    inspect: int = 0,
    toy: bool = False,
    published: bool = False,
    finish: Callable[[Result], Result] = lambda result: result,
) -> None:
    """Run a recipe up to a stage, tell of the work on the screen and of its results at the end.

    ``finish`` is called between the two, with what the run left, and gives what is told of.
    """
    from bertwright.pipeline.as_published import as_published
    from bertwright.pipeline.run import run
    from bertwright.pipeline.smoke import smoke, stand_ins
    from bertwright.recipe.reading import load_recipe
    from bertwright.screen import Screen

    recipe = load_recipe(path, overrides or (), stand_ins=toy)
    recipe = as_published(recipe) if published else recipe
    small = smoke(recipe) if toy else recipe
    made_up = stand_ins(recipe, small) if toy else []
    for sentence in made_up:
        print(f"note: {sentence}", file=sys.stderr)
    recipe = small
    command = " ".join(["bertwright", *sys.argv[1:]])
    try:
        with Screen(quiet=output.quiet, verbose=output.verbose) as screen:
            result = run(recipe, until=until, listen=screen, command=command)
    except RunsFailed as failure:
        if not output.json:
            show(_results(failure.result), {})
        raise
    if launched() and os.environ["RANK"] != "0":
        return  # the first rank tells
    result = finish(result)
    lines = _results(result)
    lines += ["smoke: it went all the way; scores on made-up files mean nothing"] if made_up else []
    rows = _decoded(result.folder / "rows", inspect) if inspect else []
    show(
        lines + rows,
        {
            "folder": result.folder,
            "report": result.report,
            **({"rows": rows} if inspect else {}),
            **({"ways": result.records.ways} if result.records.ways else {}),
            "stages": {name: {"folder": s.folder, **s.record} for name, s in result.stages.items()},
        },
    )


def _results(result: Result) -> list[str]:
    """Return the tables of what a run left, and where it is."""
    from bertwright.reports.tables import summary_lines

    where = f"report: {result.report}" if result.report else f"results: {result.folder}"
    return [*summary_lines(result.records), where]


def _decoded(folder: Path, count: int) -> list[str]:
    """Return the first rows to train on, as the model sees them."""
    from bertwright.text.shards import Shards
    from bertwright.text.tokenizer import Tokenizer

    shards, tokenizer = Shards(folder), Tokenizer.load(folder / "tokenizer")
    return [shards.decoded(tokenizer, "train", number) for number in range(min(count, shards.rows("train")))]

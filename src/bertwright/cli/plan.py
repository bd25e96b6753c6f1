"""The commands that tell what a recipe would do, and how far it is."""

from __future__ import annotations

from bertwright.cli.console import Overrides, RecipePath, show


def plan_command(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Show the stages: what is done, what would run, and why. Nothing is run."""
    from bertwright.pipeline.plan import plan
    from bertwright.pipeline.results import run_folder
    from bertwright.pipeline.stage import standings
    from bertwright.recipe.reading import load_recipe
    from bertwright.store import Store, pointers

    whole = load_recipe(recipe, overrides or ())
    store, before = Store(whole.store), pointers(run_folder(whole))
    stages = plan(whole)
    states = standings(stages, store, before, whole=whole.finetune.keep != "none")
    rows = [(stage, states[stage.name]) for stage in stages]
    width = max((len(stage.name) for stage, _ in rows), default=0)
    show(
        [f"{due.state:8}{stage.name:{width + 2}}{due.why}" for stage, due in rows],
        {"stages": [{"name": s.name, "identity": s.identity, "state": d.state, "why": d.why} for s, d in rows]},
    )


def status_command(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Show how far a run is, from any shell, while it works."""
    from bertwright.pipeline.status import status
    from bertwright.recipe.reading import load_recipe

    found = status(load_recipe(recipe, overrides or ()))
    show(found.lines(), found.as_dict())

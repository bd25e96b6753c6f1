"""A recipe's exits as their papers choose and time them: by the score alone, every row by itself."""

from __future__ import annotations

from typing import Any

from bertwright.errors import InputError
from bertwright.recipe.exits import Exits
from bertwright.recipe.methods import Method
from bertwright.recipe.sections import Recipe

_DROPS = (0.005, 0.015, 0.04)  # less than half a point; a middle; two to four points (Xin et al. 2020, section 4)
_ALL_ROWS = 2000


def as_published(recipe: Recipe) -> Recipe:
    """Return a recipe whose exit thresholds are chosen by score, at three drops, and timed on up to 2,000 rows.

    Results go to a run of their own. ``InputError`` where nothing in the recipe has exits.
    """
    finetune = recipe.finetune
    if not has_exits(recipe):
        raise InputError(
            "--as-published is for early exits, whose thresholds papers choose by the score alone; the recipe has no "
            "`exits`, so leave it out"
        )
    tasks = tuple(_changed(task, trainable=_methods(task.trainable), exits=_exits(task.exits)) for task in recipe.tasks)
    own = _changed(finetune, trainable=_methods(finetune.trainable), exits=_exits(finetune.exits))
    return recipe.model_copy(update={"name": f"{recipe.name}-as-published", "tasks": tasks, "finetune": own})


def has_exits(recipe: Recipe) -> bool:
    """Return whether a recipe asks for early exits anywhere: of all tasks, of one, or of a method."""
    methods = [*recipe.finetune.trainable, *(one for task in recipe.tasks for one in task.trainable or ())]
    return any([recipe.finetune.exits, *(one.exits for one in recipe.tasks), *(one.exits for one in methods)])


def _changed(section: Any, **values: Any) -> Any:
    """Return a section with other values where it had some."""
    return section.model_copy(update={name: value for name, value in values.items() if value is not None})


def _methods(methods: tuple[Method, ...] | None) -> tuple[Method, ...] | None:
    return None if methods is None else tuple(_changed(one, exits=_exits(one.exits)) for one in methods)


def _exits(choice: Exits | None) -> Exits | None:
    if choice is None:
        return None
    return choice.model_copy(update={"choose": "by-score", "max_drop": _DROPS, "timed_rows": _ALL_ROWS})

"""bertwright: train, adapt and serve your own BERT-like text encoders on private text and modest hardware.

The verbs of the command line are functions here; each takes a recipe, a recipe's file, or a mapping of its sections;
``predict`` takes a fine-tuned run's folder and a file, ``compare_runs`` two finished runs, ``write_submission`` answers
to GLUE's test files, and ``check_submission`` a zip of them.
Names are loaded when they are first used, so that ``import bertwright`` is instant and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bertwright.errors import BertwrightError, InputError, RecipeError, RunError
    from bertwright.pipeline.check import Check, check
    from bertwright.pipeline.compare import compare_runs
    from bertwright.pipeline.results import Result
    from bertwright.pipeline.run import evaluate, finetune, prepare, pretrain, report, run
    from bertwright.pipeline.submit import Submitted, submit
    from bertwright.recipe.reading import default_recipe, load_recipe
    from bertwright.recipe.sections import Recipe
    from bertwright.stages.predict import Predicted, predict
    from bertwright.tasks.submission import check_submission, write_submission

_HOMES = {
    "BertwrightError": "errors",
    "Check": "pipeline.check",
    "InputError": "errors",
    "Predicted": "stages.predict",
    "Recipe": "recipe.sections",
    "RecipeError": "errors",
    "Result": "pipeline.results",
    "RunError": "errors",
    "Submitted": "pipeline.submit",
    "check": "pipeline.check",
    "check_submission": "tasks.submission",
    "compare_runs": "pipeline.compare",
    "default_recipe": "recipe.reading",
    "evaluate": "pipeline.run",
    "finetune": "pipeline.run",
    "load_recipe": "recipe.reading",
    "predict": "stages.predict",
    "prepare": "pipeline.run",
    "pretrain": "pipeline.run",
    "report": "pipeline.run",
    "run": "pipeline.run",
    "submit": "pipeline.submit",
    "write_submission": "tasks.submission",
}

__all__ = [
    "BertwrightError",
    "Check",
    "InputError",
    "Predicted",
    "Recipe",
    "RecipeError",
    "Result",
    "RunError",
    "Submitted",
    "check",
    "check_submission",
    "compare_runs",
    "default_recipe",
    "evaluate",
    "finetune",
    "load_recipe",
    "predict",
    "prepare",
    "pretrain",
    "report",
    "run",
    "submit",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bertwright' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bertwright.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])

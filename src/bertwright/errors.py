"""Every error that bertwright raises on purpose.

    BertwrightError            exit 1
    ├── InputError             exit 2   what the user gave has to change
    │   ├── RecipeError                 the recipe: every problem found, each with its line
    │   ├── DataError                   a file, a row or a column of the user's data
    │   └── StoreError                  the store cannot be used as it is (permission, space, version, damage)
    │       └── LockHeld                another run works on the same stage
    └── RunError               exit 1   the input was fine and the work failed
        ├── RunsFailed                  some stages failed; what the others left comes along
        ├── Diverged                    the loss stopped being a number
        ├── Interrupted                 asked to stop; everything is saved
        └── ProofFailed                 a saved model does not give back its own outputs

A message says what was found, what was expected and what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


class BertwrightError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what a command returns."""

    exit_code = 1


class InputError(BertwrightError):
    """Something the user gave (or the machine lacks) has to change before work can start."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One fault in a recipe: its key (``a.b.c``), its line (``None`` for an override) and a sentence."""

    key: str
    line: int | None
    message: str


class RecipeError(InputError):
    """A recipe with one or more faults; ``problems`` lists them all."""

    def __init__(self, source: Path | str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        lines = [
            f"{source}{':' + str(p.line) if p.line is not None else ''}: {p.key}: {p.message}"
            if p.key
            else f"{source}: {p.message}"
            for p in problems
        ]
        super().__init__("\n".join(lines))


class DataError(InputError):
    """A file of the user's data cannot be read or used as the recipe says."""


class StoreError(InputError):
    """The store, or another place to write, cannot be used as it is."""


class LockHeld(StoreError):
    """Another process holds the lock of this stage."""


class RunError(BertwrightError):
    """The input was accepted and the work failed."""


class RunsFailed(RunError):
    """Some stages of a run failed, and the others were finished; ``result`` is what the run left."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class Diverged(RunError):
    """Loss or gradient norm was not finite too often."""


class Interrupted(RunError):
    """The process was asked to stop; the last checkpoint is whole."""


class ProofFailed(RunError):
    """A saved folder, loaded again, does not give the outputs of the model it was saved from."""

"""Which parameters learn: a choice by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from bertwright.errors import InputError


def _everything(name: str) -> bool:
    return True


def _head(name: str) -> bool:
    return name.startswith("head.")


CHOICES: dict[str, Callable[[str], bool]] = {"full": _everything, "head": _head}


def select(model: nn.Module, choice: str, *, frozen: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Make the chosen parameters trainable and freeze the rest; return the chosen names.

    Names in ``frozen`` stay frozen whatever the choice, such as a pooler that a loss does not reach.
    """
    if choice not in CHOICES:
        raise InputError(f"trainable {choice!r} is not known; choose one of {', '.join(CHOICES)}")
    chosen = []
    for name, parameter in model.named_parameters():
        wanted = CHOICES[choice](name) and name not in frozen
        parameter.requires_grad_(wanted)
        if wanted:
            chosen.append(name)
    return tuple(chosen)

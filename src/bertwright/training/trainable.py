"""Which parameters learn: whole ones, or some entries of one. The rest is frozen for real.

What is chosen is a mapping of parameters' names to the numbers of their entries in the flattened tensor, or ``None``
where all of them learn.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

Chosen = Mapping[str, Tensor | None]


def everything(model: nn.Module, leave: frozenset[str] = frozenset()) -> Chosen:
    """Choose every parameter but those to ``leave``, such as a pooler that a loss does not reach."""
    return {name: None for name, _ in model.named_parameters() if name not in leave}


def head(model: nn.Module) -> Chosen:
    """Choose the head alone."""
    return {name: None for name, _ in model.named_parameters() if name.startswith("head.")}


def freeze_others(model: nn.Module, chosen: Chosen) -> None:
    """Let gradients reach what is chosen and nothing else.

    A matrix that is frozen needs no activation to be kept for its gradient, so memory falls with it.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)


def entries_of(chosen: Chosen) -> dict[str, Tensor]:
    """Return the parameters of which only some entries learn."""
    return {name: entries for name, entries in chosen.items() if entries is not None}


def count(model: nn.Module, chosen: Chosen) -> int:
    """Return how many numbers learn."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return sum(sizes[name] if entries is None else len(entries) for name, entries in chosen.items())

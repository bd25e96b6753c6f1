"""The settings of debiasing losses and attributions, checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertwright.errors import InputError

MIXES = ("power", "complement", "power-sum", "complement-sum")
"""How similarity weighs the two losses: equation 5 (0 in the released code), and the code's types 1, 2 and 3."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "ce": (),
    "poe": ("lowest_theta",),
    "poe-ce": ("alpha",),
    "guided": ("alpha", "beta", "mix", "exponent"),
    "poe-e2e": ("bias_weight", "bias_gradient"),
    "dfl-e2e": ("gamma", "bias_weight", "bias_gradient"),
    "reweight": ("scale", "mean_weight", "lowest_theta"),
    "confidence": ("lowest_theta",),
}
"""Which settings each loss takes; any other is refused, not ignored."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    "method": tuple(OPTIONS),
    "mix": MIXES,
    "exponent": ("attached", "detached"),
    "bias_gradient": ("attached", "detached"),
    "scale": ("set", "batch"),
    "target": ("gold", "predicted"),
    "dropout": ("training", "off"),
    "specials": ("out", "in"),
    "position": ("embeddings", "words"),
    "passes": ("one", "two"),
    "compare": ("words", "tokens"),
}
_NUMBERS: Mapping[str, tuple[float, float, str]] = {
    "alpha": (0.0, 100.0, "papers try 0.01 to 1"),
    "beta": (0.0, 100.0, "papers try 0.1 to 1"),
    "gamma": (1.0, 10.0, "the paper takes 2; without it, choose poe-e2e"),
    "bias_weight": (0.0, 100.0, "the paper takes 1"),
    "mean_weight": (1e-6, 1.0, "it is the mean of 1 - q over the training set, which cannot be more"),
    "lowest_theta": (0.0, 1.0, "1 is without annealing, the paper ends at 0.8"),
}


@dataclass(frozen=True)
class Settings:
    """What a loss is computed with. ``InputError`` for a number out of range or a word that is not one of its kind.

    ``alpha`` weighs the cross-entropy part, ``beta`` is equation 5's, ``gamma`` the focal loss's, ``bias_weight`` the
    weight of a bias head's own loss. ``lowest_theta`` is what annealing ends at, linearly over the training.
    """

    method: str = "guided"
    alpha: float = 1.0
    beta: float = 1.0
    mix: str = "power"
    exponent: str = "attached"
    gamma: float = 2.0
    bias_weight: float = 1.0
    bias_gradient: str = "attached"
    scale: str = "set"
    mean_weight: float = 1.0
    lowest_theta: float = 1.0

    def __post_init__(self) -> None:
        """Check every value."""
        _check(self)

    @classmethod
    def of(cls, method: str, options: Mapping[str, Any]) -> Settings:
        """Return the settings of a loss; ``InputError`` too for an option that it does not take."""
        settings = cls(method=method)
        for name in options:
            if name not in OPTIONS[method]:
                taken = ", ".join(OPTIONS[method]) or "none"
                raise InputError(
                    f"found the option {name} with the loss {method}, which does not use it (it takes {taken}); remove "
                    "it, or choose another loss"
                )
        return dataclasses.replace(settings, **options)

    def theta(self, share: float) -> float:
        """Return where annealing is at a share of the training, 0 to 1 (Utama et al. 2020b: from 1, linearly)."""
        return 1.0 - (1.0 - self.lowest_theta) * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class Attributing:
    """How gradient x input is taken and compared; every choice that paper and released code leave open, by name.

    ``target``: the logit that is looked at. ``dropout``: as in the training pass, or off. ``specials``: whether [CLS]
    and [SEP] count in the comparison. ``position``: behind position, norm and dropout ("embeddings", as released), or
    at the table of words. ``passes``: one forward pass for attribution and loss, or two. ``compare``: similarity over
    words, or over tokens where both models have the same ones.
    """

    target: str = "gold"
    dropout: str = "training"
    specials: str = "out"
    position: str = "embeddings"
    passes: str = "one"
    compare: str = "tokens"

    def __post_init__(self) -> None:
        """Check every value, and that they go together."""
        _check(self)
        if self.dropout == "off" and self.passes == "one":
            raise InputError(
                "found dropout: off with passes: one; the loss learns with dropout, so that an attribution without it "
                "needs a pass of its own: set passes: two, or dropout: training"
            )


def _check(section: Settings | Attributing) -> None:
    for one in dataclasses.fields(section):
        value = getattr(section, one.name)
        if one.name in _WORDS:
            if value not in _WORDS[one.name]:
                raise InputError(f"{one.name}: found {value!r}, expected one of {', '.join(_WORDS[one.name])}")
            continue
        low, high, usual = _NUMBERS[one.name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            raise InputError(f"{one.name}: found {value!r}, expected a number from {low:g} to {high:g} ({usual})")

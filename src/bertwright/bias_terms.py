"""BitFit's bias terms (Ben Zaken et al. 2021, section 2): their names, where families have them, and their sizes.

Names follow the ordinary modules: ``query``, ``key``, ``value``, ``attention-output``, ``attention-norm`` (the paper's
LN1), ``intermediate`` (m2), ``output`` (m3) and ``output-norm`` (LN2) in each layer; ``embedding-norm`` and
``final-norm`` outside; ``pooler``, and ``pooler-norm`` in the modern family, for a head's dense layer that came with
the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bertwright.errors import InputError

IN_LAYERS = (
    *("query", "key", "value", "attention-output", "attention-norm"),
    *("intermediate", "output", "output-norm"),
)
OUTSIDE = ("embedding-norm", "final-norm")
POOLER = ("pooler", "pooler-norm")
NAMES = (*IN_LAYERS, *OUTSIDE, *POOLER)

CHOICES: Mapping[str, tuple[str, ...]] = {
    "all": NAMES,
    "published": (*IN_LAYERS, *OUTSIDE),
    "as-code": NAMES,
}
"""Sets of terms by name. The paper counts 102,144 in BERT-base, which is without the pooler's; its code trains it."""


@dataclass(frozen=True)
class Term:
    """One bias vector of an encoder: its name, its layer from 0 (``None`` outside the layers), how long it is."""

    name: str
    layer: int | None
    size: int

    @property
    def key(self) -> str:
        """Its name in files: ``layers.0.query``, or ``embedding-norm``."""
        return self.name if self.layer is None else f"layers.{self.layer}.{self.name}"


def terms_of(family: str, *, layers: int, width: int, inner: int, pooler: bool) -> tuple[Term, ...]:
    """Return every bias term of an encoder, the lowest first.

    ``inner`` is F, the width inside the feed-forward layer; gates double what its bias holds. ``pooler`` tells whether
    a head's dense layer came with the encoder.
    """
    modern = family == "modern"
    found = [] if family == "bert-preln" else [Term("embedding-norm", None, width)]
    for layer in range(layers):
        for name in IN_LAYERS:
            if modern and layer == 0 and name == "attention-norm":
                continue  # the embeddings are normalised already
            size = width if name != "intermediate" else 2 * inner if modern else inner
            found.append(Term(name, layer, size))
    if family in ("bert-preln", "modern"):
        found.append(Term("final-norm", None, width))
    if pooler:
        found += [Term(name, None, width) for name in (POOLER if modern else POOLER[:1])]
    return tuple(found)


def choose(terms: tuple[Term, ...], choice: str, layers: tuple[int, int] | None = None) -> tuple[Term, ...]:
    """Return the terms that a choice names, such as ``published`` or ``query+intermediate``.

    ``layers`` (first, last) keeps those of some layers, and none outside. ``InputError`` lists the names there are.
    """
    names = set(names_in(choice))
    depth = max((term.layer for term in terms if term.layer is not None), default=-1) + 1
    if layers is not None and not 0 <= layers[0] <= layers[1] < depth:
        raise InputError(
            f"layers {layers[0]}-{layers[1]} are not in an encoder of {depth} layers, which are numbered 0-{depth - 1}"
        )
    found = [term for term in terms if term.name in names]
    if layers is not None:
        found = [term for term in found if term.layer is not None and layers[0] <= term.layer <= layers[1]]
    if not found:
        there = ", ".join(dict.fromkeys(term.name for term in terms))
        where = "" if layers is None else f" in layers {layers[0]}-{layers[1]}"
        raise InputError(f"no bias term of this encoder is called {choice}{where}; it has {there}")
    return tuple(found)


def names_in(choice: str) -> tuple[str, ...]:
    """Return the terms that a choice names: one of ``CHOICES``, or names joined by ``+``."""
    if choice in CHOICES:
        return CHOICES[choice]
    names = [name.strip() for name in choice.split("+")]
    if wrong := [name for name in names if name not in NAMES]:
        raise InputError(
            f"found {wrong[0]!r} where a bias term was expected; the terms are {', '.join(NAMES)} (joined by +), or "
            f"one of {', '.join(CHOICES)}"
        )
    return tuple(names)

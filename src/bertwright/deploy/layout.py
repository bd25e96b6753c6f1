"""Where biases lie in a row's vector: all terms of an encoder, one behind the other, the lowest first.

Each part of a deployed encoder takes one slice of it. Nothing here needs torch or onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bertwright.bias_terms import IN_LAYERS, Term
from bertwright.pack import Backbone, backbone_terms


@dataclass(frozen=True)
class Slice:
    """Numbers ``start`` to ``stop`` of a row's biases."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Return how many numbers it holds."""
        return self.stop - self.start


class Layout:
    """The places of a backbone's bias terms."""

    def __init__(self, backbone: Backbone) -> None:
        self.terms = backbone_terms(backbone)
        self.places: dict[str, Slice] = {}
        self.total = 0
        for term in self.terms:
            self.places[term.key] = Slice(self.total, self.total + term.size)
            self.total += term.size

    def of(self, key: str) -> Slice | None:
        """Return where a term outside the layers lies; ``None`` where the family has none."""
        return self.places.get(key)

    def layer_terms(self, layer: int) -> tuple[Term, ...]:
        """Return a layer's terms in their order."""
        return tuple(term for term in self.terms if term.layer == layer)

    def layers(self, numbers: Sequence[int]) -> Slice:
        """Return the slice of neighbouring layers, numbered from 0."""
        own = [self.places[term.key] for number in numbers for term in self.layer_terms(number)]
        return Slice(own[0].start, own[-1].stop)


def in_groups(terms: Sequence[Term]) -> list[tuple[str, int]]:
    """Return names and sizes of a layer's terms, with query, key and value as one, ``qkv``."""
    query, key, value = IN_LAYERS[:3]
    return [
        ("qkv", 3 * term.size) if term.name == query else (term.name, term.size)
        for term in terms
        if term.name not in (key, value)
    ]

"""Where an encoder's bias terms lie in its parameters: fused projections hold several terms in one."""

from __future__ import annotations

from typing import NamedTuple

from bertwright.bias_terms import Term, terms_of
from bertwright.encoder.config import EncoderConfig

# Query, key and value lie one behind the other in one bias of 3 H numbers.
_FUSED = ("query", "key", "value")
_IN_BLOCK = {
    **dict.fromkeys(_FUSED, "attention.qkv"),
    "attention-output": "attention.output",
    "attention-norm": "attention_norm",
    "intermediate": "feed_forward.inner",
    "output": "feed_forward.outer",
    "output-norm": "feed_forward_norm",
}
_OUTSIDE = {
    "embedding-norm": "encoder.embeddings.norm",
    "final-norm": "encoder.final_norm",
    "pooler": "head.dense",
    "pooler-norm": "head.norm",
}


class Place(NamedTuple):
    """A slice of a parameter of a ``Classifier``: its name, the first number and the one behind the last."""

    name: str
    start: int
    stop: int


def locate(term: Term, config: EncoderConfig) -> Place:
    """Return where a term lies in a ``Classifier`` of this shape."""
    if term.layer is None:
        return Place(f"{_OUTSIDE[term.name]}.bias", 0, term.size)
    start = config.width * _FUSED.index(term.name) if term.name in _FUSED else 0
    return Place(f"encoder.blocks.{term.layer}.{_IN_BLOCK[term.name]}.bias", start, start + term.size)


def terms_in(config: EncoderConfig, *, pooler: bool) -> tuple[Term, ...]:
    """Return every bias term of an encoder, as ``bias_terms.terms_of`` has them."""
    return terms_of(config.family, layers=config.layers, width=config.width, inner=config.inner, pooler=pooler)

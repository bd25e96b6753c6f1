"""A pack beside another thing: an encoder it should fit, or a second pack to compare or blend with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bertwright.bias_terms import POOLER
from bertwright.errors import DataError, InputError
from bertwright.pack import Backbone, Pack, backbone_terms, make

# These decide how an encoder is trained, not what it answers.
_OF_TRAINING = ("dropout", "attention_dropout")


def check_fit(pack: Pack, backbone: Backbone) -> None:
    """Refuse an encoder or a tokenizer that the pack was not made for (``DataError``)."""
    name = f"the pack of task {pack.task.name}"
    for key in sorted(set(pack.backbone.shape) | set(backbone.shape)):
        made, found = pack.backbone.shape.get(key), backbone.shape.get(key)
        if made != found and key not in _OF_TRAINING:
            raise DataError(
                f"{name} was made for encoder {pack.backbone.hash[:12]} with {key} {made!r}, and this one, "
                f"{backbone.hash[:12]}, has {found!r}; name the encoder that the pack was trained on"
            )
    if pack.backbone.hash != backbone.hash:
        raise DataError(
            f"{name} was made for encoder {pack.backbone.hash[:12]}, and this one is {backbone.hash[:12]}: of the "
            "same shape, with other weights; name the encoder that the pack was trained on, or train the task on this"
        )
    if pack.backbone.tokenizer != backbone.tokenizer:
        raise DataError(
            f"{name} was made with tokenizer {pack.backbone.tokenizer[:12]}, and this folder's is "
            f"{backbone.tokenizer[:12]}: words would become other ids; use the tokenizer of the encoder that the pack "
            "was trained on"
        )


def change(delta: np.ndarray) -> float:
    """Return a bias's change: the mean of the absolute deltas (Ben Zaken et al. 2021, section 5)."""
    return float(np.abs(delta.astype(np.float64)).mean())


@dataclass(frozen=True)
class TermDifference:
    """One bias term of two packs: each one's change (``None``: it has none), their difference and cosine.

    ``difference`` is the mean absolute one, an absent delta being 0. ``cosine`` is ``None`` where one delta is 0.
    """

    key: str
    first: float | None
    second: float | None
    difference: float | None
    cosine: float | None


@dataclass(frozen=True)
class Difference:
    """What differs between two packs; ``header`` has both values by dotted key, ``head`` the mean differences."""

    header: dict[str, tuple[Any, Any]]
    terms: tuple[TermDifference, ...]
    head: dict[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def diff(first: Pack, second: Pack) -> Difference:
    """Compare two packs, term by term and value by value of the header."""
    one, other = _flat(first.header()), _flat(second.header())
    header = {key: (one.get(key), other.get(key)) for key in {**one, **other} if one.get(key) != other.get(key)}
    keys = [term.key for term in backbone_terms(first.backbone)]
    keys += [term.key for term in backbone_terms(second.backbone) if term.key not in set(keys)]
    terms = [
        _term(key, first.biases.get(key), second.biases.get(key))
        for key in keys
        if key in first.biases or key in second.biases
    ]
    names = {**first.head, **second.head}
    return Difference(
        header, tuple(terms), {name: _distance(first.head.get(name), second.head.get(name)) for name in names}
    )


def blend(first: Pack, second: Pack, share: float) -> Pack:
    """Return the pack that lies between two of one encoder and one set of labels: ``share`` of the second, 0 to 1.

    Deltas and heads are mixed linearly; a term that one pack lacks counts as 0. A blend has no scores, ramps or policy:
    those were measured on its parents. ``InputError`` where the two do not go together.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a blend's share is {share}; expected a number from 0 (the first pack) to 1 (the second)")
    check_fit(second, first.backbone)
    for what in ("kind", "labels", "text", "brackets", "max_length", "window_stride", "none_label", "label_separator"):
        one, other = getattr(first.task, what), getattr(second.task, what)
        if one != other:
            raise InputError(
                f"packs of tasks {first.task.name} and {second.task.name} cannot be blended: task.{what} is {one!r} in "
                f"the first and {other!r} in the second; both have to answer the same"
            )
    if alone := sorted(set(first.head) ^ set(second.head)):
        raise InputError(f"only one of the two packs holds head/{alone[0]}; blend packs that were trained alike")

    def mixed(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray:
        a, b = (0.0 if value is None else value.astype(np.float64) for value in (one, other))
        return np.asarray((1 - share) * a + share * b)

    biases = {**first.biases, **second.biases}
    return make(
        backbone=first.backbone,
        task=first.task,
        method="blend",
        terms=_both_terms(first, second),
        layers=first.method.layers if first.method.layers == second.method.layers else None,
        biases={key: mixed(first.biases.get(key), second.biases.get(key)) for key in biases},
        head={key: mixed(value, second.head[key]) for key, value in first.head.items()},
        of=first.method.counts.of,
        dtype=first.dtype if first.dtype == second.dtype else "fp32",
        recipe=f"blend of {first.recipe} and {share:g} of {second.recipe}",
    )


def _both_terms(first: Pack, second: Pack) -> str | None:
    """Name the terms of both packs: as the two do, where they say the same."""
    if first.method.terms == second.method.terms:
        return first.method.terms
    names = dict.fromkeys(term.name for pack in (first, second) for term in pack.terms if term.name not in POOLER)
    return "+".join(names) or None


def _term(key: str, first: np.ndarray | None, second: np.ndarray | None) -> TermDifference:
    changes = [None if value is None else change(value) for value in (first, second)]
    return TermDifference(key, changes[0], changes[1], _distance(first, second), _cosine(first, second))


def _distance(first: np.ndarray | None, second: np.ndarray | None) -> float | None:
    """Return the mean absolute difference, an absent one being 0; ``None`` for two of unlike shapes."""
    if first is None or second is None:
        there = second if first is None else first
        return None if there is None else change(there)
    return change(first.astype(np.float64) - second) if first.shape == second.shape else None


def _cosine(first: np.ndarray | None, second: np.ndarray | None) -> float | None:
    if first is None or second is None or first.shape != second.shape:
        return None
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found

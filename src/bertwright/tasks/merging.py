"""How the answers of a model become those of a set with other labels, such as three labels of inference HANS's two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bertwright.errors import InputError

NOWHERE = -1
"""The number of an answer that is none of the set's labels: wrong whatever the row's label is."""


@dataclass(frozen=True)
class Merge:
    """A way from logits (n, C) over the model's labels to numbers (n,) of the set's, and what it is in words.

    ``compute`` is given the logits, the number of the set's label that each of the model's becomes, (C,), and how many
    labels the set has. ``whole`` ones need a counterpart for every label of the model.
    """

    compute: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    sentence: str
    whole: bool


def _best_then_merged(logits: np.ndarray, places: np.ndarray, _: int) -> np.ndarray:
    return np.asarray(places[logits.argmax(axis=-1)])


def _added_then_best(logits: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    added = np.zeros((len(logits), count))
    for label, place in enumerate(places):
        added[:, place] += shares[:, label]  # the sum that would make them probabilities is one for a row
    return np.asarray(added.argmax(axis=-1))


def _best_of_the_rest(logits: np.ndarray, places: np.ndarray, _: int) -> np.ndarray:
    return np.asarray(places[np.where(places >= 0, logits, -np.inf).argmax(axis=-1)])


MERGES: dict[str, Merge] = {
    "argmax": Merge(_best_then_merged, "the best of the model's labels first, then merged", whole=True),
    "sum": Merge(_added_then_best, "probabilities of merged labels added first, then the best", whole=True),
    "drop": Merge(_best_of_the_rest, "labels without a counterpart ignored, the best of the rest taken", whole=False),
    "wrong": Merge(_best_then_merged, "the best label taken, and one without a counterpart counted wrong", whole=False),
}


def counterparts(model: Sequence[str], own: Sequence[str], becomes: Mapping[str, str]) -> np.ndarray:
    """Return for each of a model's labels the number of the set's label that it becomes, or ``NOWHERE``, (C,)."""
    place = {word: number for number, word in enumerate(own)}
    return np.array([place.get(becomes.get(word, word), NOWHERE) for word in model])


def checked_counterparts(
    model: Sequence[str], own: Sequence[str], becomes: Mapping[str, str], *, merge: str, what: str
) -> np.ndarray:
    """Return ``counterparts``; ``InputError`` where labels of either side are left over and ``merge`` has no rule."""
    places = counterparts(model, own, becomes)
    both = f"{what}: the model's labels are {', '.join(model)}, the set's {', '.join(own)}"
    never = [word for number, word in enumerate(own) if number not in places]
    if never:
        raise InputError(f"{both}; none of the model's becomes {', '.join(never)}; score this set with another task")
    lost = [word for word, place in zip(model, places, strict=True) if place == NOWHERE]
    if lost and MERGES[merge].whole:
        raise InputError(
            f"{both}; {', '.join(lost)} has no counterpart, and `merge: {merge}` needs one; `merge: wrong` counts such "
            "answers as wrong, `merge: drop` ignores that label"
        )
    return places


def convention(model: Sequence[str], own: Sequence[str], places: np.ndarray, merge: str) -> str:
    """Say in a sentence how answers became the set's."""
    joined = "; ".join(
        f"{' and '.join(from_)} {'counts' if len(from_) == 1 else 'count'} as {word}"
        for number, word in enumerate(own)
        if (from_ := [name for name, place in zip(model, places, strict=True) if place == number]) != [word]
    )
    lost = [name for name, place in zip(model, places, strict=True) if place == NOWHERE]
    without = f"without a counterpart: {', '.join(lost)}" if lost else ""
    return "; ".join(part for part in (f"{MERGES[merge].sentence} ({merge})", joined, without) if part)

"""What is known of a published task, so that a recipe need not say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bertwright.tasks.layout import ANY, Layout

PAIR = ("sentence1", "sentence2")
INFERENCE = ("entailment", "neutral", "contradiction")
IDS = ("idx", "index", "pairID", "guid")
"""Names of the column that numbers rows, beside ``id``."""


@dataclass(frozen=True)
class Known:
    """How a known task looks. ``sets`` are the names of its labelled files beside ``train``.

    ``stems`` are names that publishers give a file beside the usual ones, ``folders`` those of the folder; ``sizes``
    are the rows of the official files and ``forms`` says in words which are read. With ``dev_in_train`` a publisher's
    training file holds the pairs of dev too, which a list beside it names (see ``dev_pairs``). Where a model of another
    task is scored on this one, ``becomes`` gives what its labels become and ``merge`` how; a label that is not in it
    stays what it is, if this task has it.
    """

    kind: str
    text: tuple[str, ...]
    metrics: tuple[str, ...]
    sets: tuple[str, ...] = ("dev",)
    label: str = "label"
    positive: str | None = None
    none_label: str | None = None
    layout: Layout = field(default_factory=Layout)
    groups: tuple[str, ...] = ()
    documents: str | None = None
    becomes: Mapping[str, str] = field(default_factory=dict)
    merge: str = "argmax"
    stems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    forms: str = "jsonl"
    dev_in_train: bool = False


def numbered(*words: str, first: int = 0) -> dict[str, str]:
    """Return what whole numbers mean that count words from ``first``."""
    return {str(number): word for number, word in enumerate(words, first)}


def anywhere(*words: str) -> dict[str, dict[str, str]]:
    """Return what whole numbers mean in the label column, whatever a file calls it."""
    return {ANY: numbered(*words)}

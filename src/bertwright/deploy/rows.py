"""Rows to answer: texts and a pack, their token ids, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from bertwright.deploy.bank import Entry
from bertwright.errors import Diverged, InputError
from bertwright.exits.policies import Policy
from bertwright.tasks.batches import Shape, lay_out
from bertwright.tasks.texts import texts_of
from bertwright.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Row:
    """The texts of a pack's columns, in their order, and the pack's name; ``exit`` stands before the pack's policy."""

    texts: tuple[str, ...]
    pack: str
    exit: str | None = None


@dataclass(frozen=True, eq=False)
class Encoded:
    """A row as token ids: one window, or several of a long text. ``entry`` is the pack as it was when it came."""

    entry: Entry
    policy: Policy
    ids: tuple[np.ndarray, ...]
    segments: tuple[np.ndarray, ...]
    truncated: bool

    @property
    def tokens(self) -> int:
        """Return how many tokens it has, all windows together."""
        return sum(len(one) for one in self.ids)

    @property
    def longest(self) -> int:
        """Return the tokens of its longest window."""
        return max(len(one) for one in self.ids)


@dataclass(frozen=True)
class Answer:
    """What a pack says of a row: a label, some labels, or a number; ``layer`` is the one behind which it left.

    ``probabilities`` are of each label (``None`` in a regression), ``logits`` what they are made from. ``truncated``:
    the text was longer than the pack reads, and its end was not looked at.
    """

    label: str | tuple[str, ...] | float
    probabilities: dict[str, float] | None
    logits: tuple[float, ...]
    layer: int
    truncated: bool
    pack: str


def encoded(row: Row, entry: Entry, policy: Policy, tokenizer: Tokenizer, shape: Shape) -> Encoded:
    """Return a row's ids, laid out as the pack was trained; ``shape`` is the encoder's."""
    columns, task = entry.info.columns, entry.task
    if len(row.texts) != len(columns):
        raise InputError(
            f"pack {entry.name} reads {len(columns)} texts ({', '.join(columns)}), and the row has "
            f"{len(row.texts)}; give one of each"
        )
    for column, text in zip(columns, row.texts, strict=True):
        if not isinstance(text, str):
            raise InputError(f"pack {entry.name}, {column}: found a {type(text).__name__}, expected a text")
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"pack {entry.name}, {column}: half of a character (a lone surrogate); send whole UTF-8")
    texts = texts_of(task.text, row.texts, brackets=task.brackets)
    laid = lay_out([texts], np.zeros(1), tokenizer, shape, task.max_length, task.window_stride)
    return Encoded(entry, policy, laid.ids, laid.segments, bool(laid.cut))


def answered(row: Encoded, logits: np.ndarray, layer: int) -> Answer:
    """Return the answer that a row's logits (C,) mean; ``Diverged`` where one is not finite."""
    entry, labels = row.entry, row.entry.task.labels
    numbers = tuple(logits.tolist())
    if not np.isfinite(logits).all():
        raise Diverged(f"pack {entry.name} answers with {list(numbers)}, which are no numbers; train it again")
    if entry.task.kind == "regression":
        return Answer(float(str(np.float32(logits[0]))), None, numbers, layer, row.truncated, entry.name)
    if entry.task.kind == "multi-label":
        each = expit(logits)
        given = tuple(label for label, value in zip(labels, numbers, strict=True) if value > 0)
        return Answer(given, _by(labels, each), numbers, layer, row.truncated, entry.name)
    powers = np.exp(logits - logits.max())
    each = powers / powers.sum()
    return Answer(labels[int(logits.argmax())], _by(labels, each), numbers, layer, row.truncated, entry.name)


def _by(labels: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return dict(zip(labels, values.tolist(), strict=True))

"""What a model says of rows: an answer, how probable it is, and how probable each label is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import expit, softmax

from bertwright.errors import InputError
from bertwright.tasks.metrics import decide

PREDICTION, PROBABILITY, PROBABILITIES = "prediction", "probability", "probabilities"
EXIT_LAYER = "exit_layer"


@dataclass(frozen=True)
class Answers:
    """Answers to n rows: a label, a list of labels or a number each.

    But for regression ``probability`` (n,) is that of the answer, ``probabilities`` (n, C) that of each label, fp32.
    ``layers`` (n,) are those that each row ran through, where rows may leave early.
    """

    prediction: Sequence[str] | Sequence[list[str]] | Sequence[float]
    probability: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    layers: np.ndarray | None = None


def answers_of(logits: np.ndarray, kind: str, labels: Sequence[str]) -> Answers:
    """Return the answers that logits (n, C), fp32, mean; ``Diverged`` where one is not finite.

    The probability of several labels at once is that of exactly these: the product over all labels, which the model
    takes to be independent.
    """
    decided = decide(logits, kind)
    if kind == "regression":
        return Answers(plain(decided))
    if kind == "multi-label":
        each, whole = expit(logits), expit(np.abs(logits)).prod(axis=-1)
        given = [[label for label, yes in zip(labels, row, strict=True) if yes] for row in decided]
        return Answers(given, whole, each)
    each = softmax(logits, axis=-1)
    return Answers([labels[number] for number in decided], each.max(axis=-1), each)


def plain(numbers: np.ndarray) -> list[float]:
    """Return fp32 numbers as Python's, with no more digits than fp32 has: 0.9 and not 0.8999999761581421."""
    return [float(str(number)) for number in numbers.astype(np.float32)]


@dataclass(frozen=True)
class Columns:
    """How answers of a kind are named and laid out in columns; with ``exits`` the layer of each row stands last.

    Where a cell holds no list, labels are joined by ``separator``, and none of them is ``none_label``.
    """

    kind: str
    labels: tuple[str, ...]
    prefix: str = ""
    separator: str = ";"
    none_label: str | None = None
    exits: bool = False

    def names(self, flat: bool) -> tuple[str, ...]:
        """Return the columns' names; ``flat`` has a column for each label."""
        last = (self.prefix + EXIT_LAYER,) if self.exits else ()
        if self.kind == "regression":
            return (self.prefix + PREDICTION, *last)
        both = (self.prefix + PREDICTION, self.prefix + PROBABILITY)
        if flat:
            return (*both, *(f"{self.prefix}{PROBABILITY}:{label}" for label in self.labels), *last)
        return (*both, self.prefix + PROBABILITIES, *last)

    def check_joined(self) -> None:
        """Refuse labels that cannot be told apart once they are joined in a cell."""
        joined = [label for label in self.labels if self.separator in label or label == self.none_label]
        if self.kind == "multi-label" and joined:
            raise InputError(
                f"label {joined[0]!r} cannot stand in a cell whose labels are parted by {self.separator!r}; write "
                "jsonl or parquet"
            )

    def cells(self, answers: Answers) -> list[list[str]]:
        """Return the cells of each row, under ``names(flat=True)``."""
        found = [[self._joined(one)] for one in answers.prediction]
        if answers.probability is not None and answers.probabilities is not None:
            numbers = np.column_stack([answers.probability, answers.probabilities])
            found = [[*one, *map(str, row)] for one, row in zip(found, numbers, strict=True)]
        if self.exits and answers.layers is not None:
            found = [[*one, str(layer)] for one, layer in zip(found, answers.layers.tolist(), strict=True)]
        return found

    def objects(self, answers: Answers) -> list[dict[str, Any]]:
        """Return an object for each row, under ``names(flat=False)``."""
        columns: list[Iterable[Any]] = [answers.prediction]
        if answers.probability is not None and answers.probabilities is not None:
            each = (dict(zip(self.labels, plain(row), strict=True)) for row in answers.probabilities)
            columns += [plain(answers.probability), each]
        if self.exits and answers.layers is not None:
            columns.append(answers.layers.tolist())
        names = self.names(flat=False)
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    def fields(self) -> list[pa.Field]:
        """Return the types of Arrow columns, under ``names(flat=False)``."""
        kinds = {"classification": pa.string(), "multi-label": pa.list_(pa.string()), "regression": pa.float32()}
        each = pa.struct([(label, pa.float32()) for label in self.labels])
        types = [kinds[self.kind], *([] if self.kind == "regression" else [pa.float32(), each])]
        types += [pa.int32()] if self.exits else []
        return [pa.field(name, type_) for name, type_ in zip(self.names(flat=False), types, strict=True)]

    def arrays(self, answers: Answers) -> list[pa.Array]:
        """Return the Arrow columns of ``fields``."""
        types = [field.type for field in self.fields()]
        found = [pa.array(answers.prediction, types[0])]
        if answers.probability is not None and answers.probabilities is not None:
            each = [pa.array(np.ascontiguousarray(one, dtype=np.float32)) for one in answers.probabilities.T]
            found.append(pa.array(answers.probability.astype(np.float32), types[1]))
            found.append(pa.StructArray.from_arrays(each, fields=list(types[2])))
        if self.exits and answers.layers is not None:
            found.append(pa.array(answers.layers, types[-1]))
        return found

    def _joined(self, answer: str | list[str] | float) -> str:
        if isinstance(answer, list):
            return self.separator.join(answer) if answer else self.none_label or ""
        return str(answer)

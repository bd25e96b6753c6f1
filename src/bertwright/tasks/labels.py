"""Labels as numbers: a map made from the training rows, which every other file has to keep to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bertwright.errors import DataError
from bertwright.tasks.joined_labels import joined_labels
from bertwright.tasks.label_words import alike, numbering, plain
from bertwright.tasks.readers import Rows, is_number, some_of

_ONCE = 20  # labels of one row each, from which on a column may well be one of ids
_LARGE, _FAR = 1e6, 1e4


@dataclass(frozen=True)
class LabelMap:
    """Names of labels in the order of their numbers; ``None`` for regression.

    ``drawn`` says that the rows were drawn of more, among which there may be other labels.
    """

    kind: str
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    drawn: bool = False

    @classmethod
    def from_rows(cls, rows: Rows, kind: str) -> LabelMap:
        """Make the map from training rows, names sorted; ``DataError`` where there is nothing to tell apart."""
        if kind == "regression":
            return cls(kind, None, tuple(_spread(np.array(rows.labels, dtype=np.float64))))
        counts = Counter(name for label in rows.labels for name in (label if isinstance(label, tuple) else (label,)))
        names = tuple(sorted(str(name) for name in counts))
        if len(names) < (1 if kind == "multi-label" else 2):
            raise DataError(f"{rows.path}: found {len(names)} label(s) {list(names)}; there is nothing to tell apart")
        notes = [*_once([name for name in names if counts[name] == 1], len(names)), *alike(names)]
        notes += [joined] if (joined := joined_labels(names, kind, several=_several(rows))) is not None else []
        return cls(kind, names, tuple(notes), rows.drawn)

    def same(self, names: Sequence[str]) -> bool:
        """Whether a model that answers with ``names`` means these labels, in this order, however it writes them."""
        return list(map(plain, names)) == list(map(plain, self.names or ()))

    @property
    def outputs(self) -> int:
        """Return how many numbers a head gives."""
        return len(self.names) if self.names is not None else 1

    def numbers(self, rows: Rows) -> np.ndarray:
        """Return labels as class numbers (n,), as 0 and 1 (n, C), or as fp32 numbers (n,).

        ``DataError`` names the row and the known labels where one was not in training.
        """
        if self.names is None:
            return np.array(rows.labels, dtype=np.float32)
        number_of = numbering(self.names)
        if self.kind == "multi-label":
            array = np.zeros((len(rows), len(self.names)), dtype=np.float32)
            for row, labels in enumerate(rows.labels):
                for name in labels if isinstance(labels, tuple) else ():
                    array[row, self._number(number_of, name, rows, row)] = 1.0
            return array
        return np.array([self._number(number_of, str(name), rows, row) for row, name in enumerate(rows.labels)])

    def _number(self, number_of: Callable[[str], int | None], name: str, rows: Rows, row: int) -> int:
        number = number_of(name)
        if number is None:
            known = self.names or ()
            hint = ", or raise `train_rows`" if self.drawn else ""
            hint += "; numbers are learnt with `kind: regression`" if all(map(is_number, (name, *known))) else ""
            joined = joined_labels((*known, name), self.kind, several=_several(rows))
            hint += f"; {joined}" if joined is not None else ""
            raise DataError(
                f"{rows.path}, row with id {rows.ids[row]}: label {name!r} is in no training row "
                f"(known: {some_of(known)}); correct it, or add training rows with it{hint}"
            )
        return number


def _several(rows: Rows) -> bool:
    return any(isinstance(label, tuple) and len(label) > 1 for label in rows.labels)


def _once(once: Sequence[str], count: int) -> Iterator[str]:
    """Note labels of a single row, and that most labels are such, as in a column of ids."""
    if len(once) >= _ONCE and len(once) > count / 2:
        yield (
            f"{len(once):,} of {count:,} labels occur in one training row only, as ids or free text would ("
            f"{some_of(once, 3)}); is `label` the column with the labels?"
        )
    elif once:
        yield f"label {some_of(once)} occurs in one training row only"


def _spread(numbers: np.ndarray) -> Iterator[str]:
    """Note labels of a regression that are too large, or too far from the others, to be learnt beside them."""
    if len(numbers) and (largest := numbers[np.abs(numbers).argmax()]) and abs(largest) > _LARGE:
        yield f"labels reach {largest:g}, and numbers near 1 are learnt best; scale them, or take their logarithms"
    away = np.abs(numbers - np.median(numbers)) if len(numbers) else numbers
    usual = np.sort(away)[: len(away) - max(1, len(away) // 100)]
    deviation = float(np.sqrt(np.mean(usual**2))) if len(usual) else 0.0
    if deviation and away.max() > _FAR * deviation:
        yield (
            f"label {numbers[away.argmax()]:g} lies {away.max() / deviation:,.0f} deviations of the others from their "
            "middle, and would be most of the loss; correct it, or leave the row out"
        )

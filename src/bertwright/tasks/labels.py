"""Labels as numbers: a map made from the training rows, which every other file has to keep to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from bertwright.errors import DataError
from bertwright.tasks.joined_labels import joined_labels
from bertwright.tasks.readers import Rows, is_number

# Known labels that a message names.
_SHOWN = 12


@dataclass(frozen=True)
class LabelMap:
    """Names of labels in the order of their numbers; ``None`` for regression."""

    kind: str
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_rows(cls, rows: Rows, kind: str) -> LabelMap:
        """Make the map from training rows, names sorted; ``DataError`` where there is nothing to tell apart."""
        if kind == "regression":
            return cls(kind, None)
        counts = Counter(name for label in rows.labels for name in (label if isinstance(label, tuple) else (label,)))
        names = tuple(sorted(str(name) for name in counts))
        if len(names) < (1 if kind == "multi-label" else 2):
            raise DataError(f"{rows.path}: found {len(names)} label(s) {list(names)}; there is nothing to tell apart")
        once = [name for name in names if counts[name] == 1]
        notes = [f"label {', '.join(once)} occurs in one training row only"] if once else []
        notes += [joined] if (joined := joined_labels(names, kind, several=_several(rows))) is not None else []
        return cls(kind, names, tuple(notes))

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
        place = {name: number for number, name in enumerate(self.names)}
        if self.kind == "multi-label":
            array = np.zeros((len(rows), len(self.names)), dtype=np.float32)
            for row, labels in enumerate(rows.labels):
                for name in labels if isinstance(labels, tuple) else ():
                    array[row, self._number(place, name, rows, row)] = 1.0
            return array
        return np.array([self._number(place, str(name), rows, row) for row, name in enumerate(rows.labels)])

    def _number(self, place: dict[str, int], name: str, rows: Rows, row: int) -> int:
        if name not in place:
            known = self.names or ()
            more = f", ... {len(known)} in all" if len(known) > _SHOWN else ""
            hint = "; numbers are learnt with `kind: regression`" if all(map(is_number, (name, *known))) else ""
            joined = joined_labels((*known, name), self.kind, several=_several(rows))
            hint += f"; {joined}" if joined is not None else ""
            raise DataError(
                f"{rows.path}, row with id {rows.ids[row]}: label {name!r} is in no training row "
                f"(known: {', '.join(known[:_SHOWN])}{more}); correct it, or add training rows with it{hint}"
            )
        return place[name]


def _several(rows: Rows) -> bool:
    return any(isinstance(label, tuple) and len(label) > 1 for label in rows.labels)

"""An expert's logits that come in a user's file, held against the training rows. Needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bertwright.debias import signals
from bertwright.debias.experts import read_expert
from bertwright.debias.signals import Signals, content_of
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows

_MEND = "write the file anew, with one row for each training row"


def with_own_ids(rows: Rows) -> Rows:
    """Return rows whose ids differ: one that comes again has the number of its coming behind it (``7``, ``7#2``).

    A claim that stands in several pairs brings its id into each of them.
    """
    if len(set(rows.ids)) == len(rows.ids):
        return rows
    seen, ids = Counter[str](), []
    taken = set(rows.ids)
    for one in rows.ids:
        seen[one] += 1
        name = one if seen[one] == 1 else f"{one}#{seen[one]}"
        while seen[one] > 1 and name in taken:
            name += "#"
        taken.add(name)
        ids.append(name)
    return replace(rows, ids=tuple(ids))


def golds_of(rows: Rows) -> list[str]:
    """Return the gold labels of rows of one class each."""
    return [str(label) for label in rows.labels]


def signals_in_file(
    path: Path, rows: Rows, labels: LabelMap, *, values: str, names: Mapping[str, str]
) -> tuple[Signals, tuple[str, ...]]:
    """Return a file's logits in the order of the training rows, and notes.

    ``DataError`` where a row is missing or there too much, a label is not there, or a number is none.
    """
    known = labels.names or ()
    found = read_expert(path, known, values=values, columns=names)
    golds = golds_of(rows)
    hashes = dict(zip(rows.ids, content_of(rows.texts, golds), strict=True))
    # A file of logits knows no texts: what is left to compare is which rows there are.
    content = content_of([()] * len(found.ids), found.ids)
    for place, one in enumerate(found.ids):
        content[place] = hashes.get(one, content[place])
    own = Signals(found.ids, content, tuple(known), found.logits, about={"expert": "file", "file": path.name})
    return signals.join(own, rows.ids, rows.texts, golds, known, source=path, mend=_MEND), found.notes

"""Labels that look like several in one: what is said where a column's labels are joined and no setting says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# What people part labels by; a comma last, as names of classes hold some.
_SEPARATORS = (";", "|", ",")


def joined_labels(labels: Iterable[str], kind: str, *, several: bool = False) -> str | None:
    """Return what to say of ``labels`` of which some look joined, with the settings that part them, or ``None``.

    They look so where most words between the separators stand in other labels too. ``several`` says that a row of a
    multi-label task has some: its labels are parted already.
    """
    names = tuple(dict.fromkeys(labels))
    if several:
        return None
    for separator in _SEPARATORS:
        parted = {name: [part.strip() for part in name.split(separator)] for name in names}
        joined = [name for name, parts in parted.items() if len(parts) > 1 and all(parts)]
        counts = Counter(part for parts in parted.values() for part in set(parts))
        words = {part for name in joined for part in parted[name]}
        if joined and sum(counts[word] > 1 for word in words) > len(words) / 2:
            return (
                f"{len(joined)} of {len(names)} labels hold {separator!r} between words that other labels hold too, "
                f"such as {joined[0]!r}; where a row has several labels, set {_settings(separator, kind)}"
            )
    return None


def _settings(separator: str, kind: str) -> str:
    """Return the settings of a task that part its labels, without those that it has."""
    wanted = ["`kind: multi-label`"] if kind != "multi-label" else []
    # A semicolon is what parts them where nothing is said.
    return " and ".join([*wanted, *([f'`label_separator: "{separator}"`'] if separator != ";" or not wanted else [])])

"""Lines that come again and again in a corpus: menus, footers, licences, and whatever else is no text of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

# A longer line is hardly boilerplate, and would fill the memory; so would more different lines than this.
_LONGEST, _MOST = 200, 1 << 17


class RepeatedLines:
    """Counts lines in bounded memory: one that comes rarely and far apart may be counted less often than it comes."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count the lines of a text, as it stands in its file."""
        self._counts.update(line for line in text.split("\n") if len(line) <= _LONGEST)
        if len(self._counts) > _MOST:
            self._counts = Counter({line: times for line, times in self._counts.items() if times > 1})
        if len(self._counts) > _MOST:
            self._counts = Counter(dict(self._counts.most_common(_MOST // 2)))

    def top(self, most: int) -> list[tuple[str, int]]:
        """Return the lines that came more than once, the most frequent first, with how often they came."""
        stripped: Counter[str] = Counter()
        for line, times in self._counts.items():
            if times > 1 and line.strip():
                stripped[" ".join(line.split())] += times
        return in_order(stripped)[:most]


def in_order(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return lines with their counts, the most frequent first; those of one count in the order of the alphabet."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def together(parts: Iterable[Sequence[tuple[str, int]]], most: int) -> list[tuple[str, int]]:
    """Return the most frequent lines of several parts."""
    counts: Counter[str] = Counter()
    for lines in parts:
        for line, times in lines:
            counts[line] += times
    return in_order(counts)[:most]

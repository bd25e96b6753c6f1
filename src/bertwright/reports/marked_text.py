"""A text whose words are marked by what two models look at: colour behind a word, and a line below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import escape


class MarkedText(str):
    """Plain text in a terminal; on a page, marks around words: how strong the colour is, and how thick the line."""

    __slots__ = ("marks",)

    marks: tuple[tuple[int, int, float, float], ...]
    """For a word: its first character, one past its last, and both models' shares, 0 to 1."""

    def __new__(cls, text: str, marks: Sequence[tuple[int, int, float, float]] = ()) -> MarkedText:
        """Keep the marks, which stand in the order of the text, beside it."""
        made = super().__new__(cls, text)
        made.marks = tuple(marks)
        return made

    def __html__(self) -> str:
        """Return the text for a page, escaped, a ``span`` around each word that has a share."""
        parts, at = [], 0
        for start, end, main, expert in self.marks:
            style = f"--main: {main:.2f}; --expert: {expert:.2f}"
            parts += [
                str(escape(self[at:start])),
                f'<span class="word" style="{style}">{escape(self[start:end])}</span>',
            ]
            at = end
        return "".join([*parts, str(escape(self[at:]))])


def marked(columns: Sequence[str], words: Sequence[Sequence[Any]], longest: int) -> MarkedText:
    """Join a row's columns, cut to so many letters; ``words`` are as ``stages.example_words`` writes them.

    A share that is ``None`` is 0: a model that does not read a word has nothing from it.
    """
    bar = " | "
    text, begins = bar.join(columns), [0]
    for column in columns:
        begins.append(begins[-1] + len(column) + len(bar))
    room = len(text) if len(text) <= longest else longest - 1
    marks = [
        (begins[column] + start, begins[column] + end, main or 0.0, expert or 0.0)
        for column, start, end, main, expert in words
        if begins[column] + end <= room and (main or expert)
    ]
    return MarkedText(text if room == len(text) else text[:room] + "…", marks)

"""The texts of a row, made of the cells of its columns: a column as it is, or a pattern such as ``{title} {body}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bertwright.tasks.brackets import repaired

_COLUMN = re.compile(r"\{([^{}]+)\}")


def text_columns(text: str) -> tuple[str, ...]:
    """Return the columns that a text is made of: itself, or those in the braces of a pattern."""
    return tuple(_COLUMN.findall(text)) or (text,)


def columns_of(text: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a row's texts are made of, each once."""
    return tuple(dict.fromkeys(column for one in text for column in text_columns(one)))


def filled(text: str, cell: Callable[[str], str]) -> str:
    """Return a row's text, by its column or its pattern; ``cell`` gives what stands in a column."""
    return _COLUMN.sub(lambda found: cell(found[1]), text) if _COLUMN.search(text) else cell(text)


def texts_of(text: Sequence[str], cells: Sequence[str], *, brackets: bool) -> tuple[str, ...]:
    """Return a row's texts; ``cells`` are those of ``columns_of(text)``, with ``brackets`` treebank marks go."""
    row = dict(zip(columns_of(text), cells, strict=True))
    made = tuple(filled(one, row.__getitem__) for one in text)
    return tuple(map(repaired, made)) if brackets else made

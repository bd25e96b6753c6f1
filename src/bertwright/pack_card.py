"""What a pack's header says for its card: licence, data by name and size, settings, scores over seeds. No text of rows.

The file's other parts are in ``pack``; ``reports.cards`` makes a page of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, ValidationError

UNKNOWN = "unknown"
"""The licence of what nobody has named one for."""


class Strict:
    """Part of a header: known keys alone, of their own types, no NaN."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def first_fault(error: ValidationError, whole: str = "the header") -> str:
    """Return the first thing that is wrong with a header: its key, what was found, what is wanted."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, fault["loc"])) or whole
    return f"{where}: found {repr(fault['input'])[:80]}; {fault['msg']}"


@dataclass(frozen=True)
class Data(Strict):
    """A file of rows: its name without folders, what it was for (``training``, or the name of a set), its rows."""

    name: str
    use: str
    rows: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class SeedScores(Strict):
    """What a task's runs reached on a set, over seeds: mean, sample deviation, 95 % interval of the mean (t)."""

    set: str
    metric: str
    seeds: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=0)]
    mean: float | None
    deviation: float | None
    interval: tuple[float, float] | None
    protocol: str


@dataclass(frozen=True)
class PackCard(Strict):
    """What a reader wants to know of a pack before using it, and its arrays do not say."""

    license: str
    data: tuple[Data, ...]
    settings: dict[str, str | int | float | bool | None]
    scores: tuple[SeedScores, ...] = ()

"""Where pieces of work go, and how the parts of files are walked through, a few ahead, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bertwright import files
from bertwright.processes import Function
from bertwright.text.parts import Part, parts_of
from bertwright.text.sources import TextFile

Thing = TypeVar("Thing")


class Answer(Protocol):
    """What ``submit`` gives: a future, of ``concurrent.futures``, Dask or another."""

    def result(self) -> dict[str, Any]:
        """Wait for the result, or raise what the call raised."""


class Executor(Protocol):
    """Where pieces of work go."""

    def submit(self, function: Function, argument: Mapping[str, Any], /) -> Answer:
        """Call a function of plain values somewhere."""


@dataclass(frozen=True)
class Done:
    """An answer that is there."""

    content: dict[str, Any]

    def result(self) -> dict[str, Any]:
        """Return it."""
        return self.content


class Here:
    """An executor that does everything in this process, at once."""

    def submit(self, function: Function, argument: Mapping[str, Any], /) -> Done:
        """Call a function now."""
        return Done(function(argument))


@dataclass(frozen=True)
class Crew:
    """An executor and how many places it has."""

    executor: Executor
    places: int = 1

    def each(
        self, function: Function, things: Iterable[Thing], argument: Callable[[Thing], Mapping[str, Any]]
    ) -> Iterator[tuple[Thing, dict[str, Any]]]:
        """Call a function for each thing, a few ahead, and give the results in order."""
        waiting: deque[tuple[Thing, Answer]] = deque()
        for thing in things:
            waiting.append((thing, self.executor.submit(function, argument(thing))))
            if len(waiting) > self.places + 1:
                first, answer = waiting.popleft()
                yield first, answer.result()
        while waiting:
            first, answer = waiting.popleft()
            yield first, answer.result()

    def each_part(
        self,
        function: Function,
        text_files: Sequence[TextFile],
        part_bytes: int,
        pieces: Path,
        argument: Callable[[Part], Mapping[str, Any]],
    ) -> Iterator[tuple[Part, dict[str, Any]]]:
        """Call a function for each part of some files and give the results in the order of the text.

        Packed files are unpacked piece by piece into the folder ``pieces``, a few ahead.
        """
        parts = (part for number, file in enumerate(text_files) for part in parts_of(number, file, part_bytes, pieces))
        for part, result in self.each(function, parts, argument):
            if part.piece is not None:
                files.remove(Path(part.piece))
            yield part, result

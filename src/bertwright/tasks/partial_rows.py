"""Rows on their way into a file: what is finished survives a kill, and the file appears whole or not at all.

OUT.partial/rows         finished windows, one behind the other
OUT.partial/state.json   what was asked for, and how many rows and bytes are finished
OUT.partial/lock         held while somebody works
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import filelock

from bertwright import door, files
from bertwright.errors import InputError, LockHeld
from bertwright.store import PARTIAL

_STATE, _ROWS, _LOCK = "state.json", "rows", "lock"


@dataclass(frozen=True)
class Done:
    """How far the work is: rows finished, how many of them were cut, and the bytes they take.

    ``left`` are the rows that left at each exit, where they may leave early; ``empty`` are those that have no text.
    """

    rows: int = 0
    cut: int = 0
    bytes: int = 0
    left: tuple[int, ...] = ()
    empty: int = 0

    def with_more(self, more: Done) -> Done:
        """Return both together."""
        before = self.left or (0,) * len(more.left)
        left = tuple(a + b for a, b in zip(before, more.left, strict=True)) if more.left else self.left
        return Done(self.rows + more.rows, self.cut + more.cut, self.bytes + more.bytes, left, self.empty + more.empty)


class PartialRows:
    """The folder beside a file that is being written. ``begin`` it, ``add`` windows to it, ``finish`` it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done = Done()
        self._asked: Mapping[str, Any] = {}

    def resume(self, asked: Mapping[str, Any]) -> tuple[bool, str | None]:
        """Go on with an earlier try that was asked for the same; return whether there was one, and why not.

        What is asked for decides the bytes of the rows.
        """
        path = self.folder / _STATE
        if not path.is_file():
            return False, None
        before = files.read_json(path)
        earlier = before["asked"]
        different = [name for name in {**earlier, **asked} if earlier.get(name) != asked.get(name)]
        if different:
            return False, f"not the same as when the work in {self.folder} was begun: {', '.join(different)}"
        self._asked, self.done = asked, Done(**before["done"])
        with files.explained(self.folder):
            door.truncate(self.folder / _ROWS, self.done.bytes)
        return True, None

    def begin(self, asked: Mapping[str, Any], content: bytes) -> None:
        """Forget an earlier try and begin with what stands before the first row."""
        with files.explained(self.folder):
            door.remove_file(self.folder / _STATE)
        files.fill(self.folder / _ROWS, b"")
        self._asked, self.done = asked, Done()
        self.add(content, Done())

    def add(self, content: bytes, more: Done) -> None:
        """Put finished rows behind the others, counted in ``more``; when this returns they are on the disk."""
        with files.explained(self.folder), door.append(self.folder / _ROWS) as stream:
            stream.write(content)
            stream.sync()
        self.done = self.done.with_more(replace(more, bytes=len(content)))
        self._note()

    def _note(self, *, finished: bool = False) -> None:
        content = {"asked": dict(self._asked), "done": asdict(self.done), "finished": finished}
        files.write_json(self.folder / _STATE, content)

    def finish(self, out: Path, make: Callable[[Path, Path], None]) -> None:
        """Have ``make(rows, file)`` write the file, give it its name, and remove the folder."""
        self._note(finished=True)
        whole = self.folder / "whole"
        with files.explained(whole):
            make(self.folder / _ROWS, whole)
            files.sync(whole)
            door.rename(whole, out)
            files.sync(out.parent)
        files.remove(self.folder)


def _put_away(folder: Path) -> None:
    """Remove what a kill just behind the end of the work left."""
    state = folder / _STATE
    if state.is_file() and files.read_json(state).get("finished"):
        files.remove(folder)


@contextlib.contextmanager
def working(out: Path) -> Iterator[PartialRows]:
    """Give the folder in which ``out`` is made, this process's alone; ``InputError`` where it cannot be made."""
    folder = out.with_name(out.name + PARTIAL)
    if out.exists():
        _put_away(folder)
        raise InputError(f"{out} is there already; remove it first, or name another file")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        fault = "may not be written to" if out.parent.is_dir() else "is not there"
        raise InputError(f"{out}: the folder {out.parent} {fault}; name a file in a folder of yours")
    with files.explained(folder):
        files.make_folder(folder)
        try:
            lock = door.lock(folder / _LOCK)
        except filelock.Timeout:
            raise LockHeld(f"another process writes {out}; wait for it to end, or name another file") from None
    try:
        for left in folder.glob(f"*{files.TEMPORARY}"):
            files.remove(left)
        yield PartialRows(folder)
    finally:
        # A fault before the first row leaves nothing behind. Still locked: the folder may be another's a moment later.
        if folder.is_dir() and not (folder / _STATE).exists():
            files.remove(folder)
        lock.release()

"""Rows on their way into a file: what is finished survives a kill, and the file appears whole or not at all.

OUT.partial/rows         finished windows, one behind the other
OUT.partial/whole        the file, while it is made of them
OUT.partial/state.json   what was asked for, and how many rows and bytes are finished
OUT.partial/lock         held while somebody works

A folder of that name with anything else in it is somebody's own: it is refused, and nothing of it is touched.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import filelock
from pydantic import Field, TypeAdapter, ValidationError

from bertwright import door, files
from bertwright.errors import InputError, LockHeld
from bertwright.store import PARTIAL

_STATE, _ROWS, _WHOLE, _LOCK = "state.json", "rows", "whole", "lock"
_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Done:
    """How far the work is: rows finished, how many of them were cut, and the bytes they take.

    ``left`` are the rows that left at each exit, where they may leave early; ``empty`` are those that have no text.
    """

    rows: _Count = 0
    cut: _Count = 0
    bytes: _Count = 0
    left: tuple[_Count, ...] = ()
    empty: _Count = 0

    def with_more(self, more: Done) -> Done:
        """Return both together."""
        before = self.left or (0,) * len(more.left)
        left = tuple(a + b for a, b in zip(before, more.left, strict=True)) if more.left else self.left
        return Done(self.rows + more.rows, self.cut + more.cut, self.bytes + more.bytes, left, self.empty + more.empty)


@dataclass(frozen=True)
class _State:
    """What ``state.json`` holds."""

    asked: dict[str, Any]
    done: Done
    finished: bool = False


_NOTED = TypeAdapter(_State)


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
        path, rows = self.folder / _STATE, self.folder / _ROWS
        if not path.is_file():
            return False, None
        before = _noted(path)
        if before is None:
            return False, f"{path} is damaged"
        names = {**before.asked, **asked}
        different = [name for name in names if before.asked.get(name) != asked.get(name)]
        if different:
            return False, f"not the same as when the work in {self.folder} was begun: {', '.join(different)}"
        there = rows.stat().st_size if rows.is_file() else 0
        if there < before.done.bytes:
            return False, f"{rows} is damaged: it holds {there:,} bytes of {before.done.bytes:,} that were finished"
        self._asked, self.done = asked, before.done
        with files.explained(self.folder):
            door.truncate(rows, self.done.bytes)
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
        files.write_json(self.folder / _STATE, asdict(_State(dict(self._asked), self.done, finished)))

    def finish(self, out: Path, make: Callable[[Path, Path], None]) -> None:
        """Have ``make(rows, file)`` write the file, give it its name, and remove the folder."""
        self._note(finished=True)
        whole = self.folder / _WHOLE
        with files.explained(whole):
            make(self.folder / _ROWS, whole)
            files.sync(whole)
            door.rename(whole, out)
            files.sync(out.parent)
        _remove(self.folder)


def _noted(path: Path) -> _State | None:
    """Return what a state says; None where it is damaged."""
    try:
        return _NOTED.validate_json(path.read_bytes(), strict=True)
    except ValidationError:
        return None


def _is_own(path: Path) -> bool:
    """Return whether a file in the folder is one that work leaves there."""
    named = path.name in (_STATE, _ROWS, _WHOLE, _LOCK) or files.neighbour_of(path) == _STATE
    return named and path.is_file() and not path.is_symlink()


def _not_own(folder: Path) -> str | None:
    """Say why a folder is not one that work leaves; None where it is, or where there is none."""
    if folder.is_symlink() or not folder.is_dir():
        return "is there already and is no folder" if os.path.lexists(folder) else None
    others = sorted(path.name for path in folder.iterdir() if not _is_own(path))
    return f"holds {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}" if others else None


def _remove(folder: Path) -> None:
    """Remove what work left in a folder and then the folder, unless somebody has put a file of their own there.

    The lock goes last, so that nobody begins to work here before all else is gone.
    """
    with files.explained(folder):
        for path in sorted(filter(_is_own, folder.iterdir()), key=lambda path: (path.name == _LOCK, path.name)):
            door.remove_file(path)
        if not any(folder.iterdir()):
            door.remove_folder(folder)


def _put_away(folder: Path) -> None:
    """Remove what a kill just behind the end of the work left, unless somebody is at work there."""
    if not folder.is_dir() or _not_own(folder):
        return
    state = folder / _STATE
    if state.is_file() and not ((noted := _noted(state)) and noted.finished):
        return
    with contextlib.suppress(filelock.Timeout), files.explained(folder):
        lock = door.lock(folder / _LOCK)
        try:
            _remove(folder)
        finally:
            lock.release()


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
    if found := _not_own(folder):
        raise InputError(
            f"{folder} {found}, and a folder of that name is needed for unfinished rows; move it away, or name another "
            "file to write"
        )
    with files.explained(folder):
        files.make_folder(folder)
        try:
            lock = door.lock(folder / _LOCK)
        except filelock.Timeout:
            raise LockHeld(f"another process writes {out}; wait for it to end, or name another file") from None
    try:
        for left in folder.iterdir():
            if files.neighbour_of(left) == _STATE:
                door.remove_file(left)
        yield PartialRows(folder)
    finally:
        try:
            # A fault before the first row leaves nothing behind. Still locked: it may be another's a moment later.
            if folder.is_dir() and not (folder / _STATE).exists():
                _remove(folder)
        finally:
            lock.release()

"""A door to the disk that fails at one operation, in one of several ways.

kill      the process ends just before the operation, which is just behind the one before it
torn      it ends in the middle of it: half the bytes are written, half a folder is removed
power     it ends before it, and what was not brought to the disk is lost
EIO       the system refuses this one operation: the disk is broken
EACCES    the system refuses this one operation: no permission
ENOSPC    the disk is full from here on: half of a write goes through, and nothing that needs room after it
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright import door

OPERATIONS = (
    *("write", "sync", "create", "append", "rename", "make_folder", "remove_file", "remove_folder", "link", "point"),
    *("truncate", "reserve", "permit", "lock", "hand_over", "opened_for"),
)
_ROOM = {"write", "create", "append", "make_folder", "link", "point", "reserve", "lock", "hand_over", "opened_for"}
_NAMES = {*OPERATIONS} - {"write", "sync", "opened_for"}
_IN_PIECES = {"write", "remove_folder", "hand_over"}
MODES = {
    "kill": {*OPERATIONS, "end"} - {"sync"},  # nothing is seen of a sync but in "power"
    "torn": _IN_PIECES,
    "power": {*OPERATIONS, "end"},
    "EIO": {*OPERATIONS},
    "EACCES": _NAMES,
    "ENOSPC": _ROOM | {"sync"},
}
"""The operations that each kind of fault makes sense for; "end" stands behind the last one."""
KILLED = 137


@dataclass(frozen=True)
class Point:
    """One operation of a run: its name and the path it works on, from the run's folder."""

    operation: str
    path: str


class FaultyDoor:
    """Puts itself before every operation of ``door``; the ``number``-th, from 1, goes wrong as ``mode`` says."""

    def __init__(self, root: Path, mode: str = "", number: int = 0) -> None:
        self.points: list[Point] = []
        self._root, self._mode, self._number = root, mode, number
        self._full = False
        self._kept: dict[int, int] = {}  # bytes of a file, by its inode, that are on the disk; absent: all
        self._real: dict[str, Callable[..., Any]] = {}

    def open(self) -> None:
        """Stand before the door from now on."""
        for name in OPERATIONS:
            self._real[name] = getattr(door, name)
            setattr(door, name, self._before(name, self._real[name]))

    def close(self) -> None:
        """Go away again."""
        for name, real in self._real.items():
            setattr(door, name, real)

    def end(self) -> None:
        """Fail behind the last operation, where that was asked for."""
        if self._number == len(self.points) + 1:
            self._die()

    def _before(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            path = _path(arguments[0])
            self.points.append(Point(name, self._relative(path)))
            if self._full and name in _ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if len(self.points) == self._number:
                self._fail(name, real, arguments)
            result = real(*arguments)
            self._note(name, arguments)
            return result

        return operation

    def _fail(self, name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if self._mode in ("kill", "power"):
            self._die()
        if self._mode == "torn" or (self._mode == "ENOSPC" and name in ("write", "hand_over")):
            _half(name, real, arguments)
        if self._mode == "torn":
            os._exit(KILLED)
        self._full = self._mode == "ENOSPC"
        number = getattr(errno, self._mode)
        raise OSError(number, os.strerror(number))

    def _die(self) -> None:
        if self._mode == "power":
            for path in [path for path in self._root.rglob("*") if path.is_file() and not path.is_symlink()]:
                if (kept := self._kept.get(path.stat().st_ino)) is not None:
                    os.truncate(path, min(kept, path.stat().st_size))
        os._exit(KILLED)

    def _note(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Remember what of a file is on the disk."""
        if name in ("write", "sync"):
            status = os.fstat(arguments[0])
            if name == "sync":
                self._kept.pop(status.st_ino, None)
            else:
                self._kept.setdefault(status.st_ino, status.st_size - len(arguments[1]))
        elif name in ("create", "reserve", "hand_over"):
            self._kept[arguments[0].stat().st_ino] = 0

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else path.name


def _path(argument: Any) -> Path:
    return Path(f"/proc/self/fd/{argument}").readlink() if isinstance(argument, int) else Path(argument)


def _half(name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Do half of an operation."""
    if name == "write":
        handle, content = arguments
        real(handle, bytes(content)[: len(content) // 2])
    elif name == "remove_folder":
        inside = sorted(arguments[0].iterdir())
        for path in inside[: (len(inside) + 1) // 2]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        real(*arguments)
        os.truncate(arguments[0], arguments[0].stat().st_size // 2)

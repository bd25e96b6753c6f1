"""The small door to the disk: every operation that changes it, a plain function each.

Nobody else opens a file for writing, renames, removes, links, locks or syncs; a test reads the sources for that. Others
call ``door.rename`` and never import a name from here, so a test can put a failing function in the place of any of
them, and so try a fault at every single operation of a run (tests/faults). In use they are what they look like.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

_BUFFER = 1 << 18


def write(handle: int, content: bytes | memoryview) -> int:
    """Write to an open file and return how many bytes the system took, which may be fewer than given."""
    return os.write(handle, content)


def sync(handle: int) -> None:
    """Bring an open file, or an open folder's list of names, to the disk."""
    os.fsync(handle)


def create(path: Path) -> Stream:
    """Open a new file, or an old one emptied, for writing bytes."""
    return Stream(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666))


def append(path: Path) -> Stream:
    """Open a file for writing bytes behind what it has."""
    return Stream(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666))


def rename(source: Path, target: Path) -> None:
    """Give a file or folder another name; a file that has it is replaced at once."""
    source.replace(target)


def make_folder(path: Path) -> None:
    """Make one folder, unless it is there."""
    path.mkdir(exist_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file or a link, if it is there."""
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it."""
    shutil.rmtree(path)


def link(source: Path, target: Path) -> None:
    """Give a file a second name."""
    target.hardlink_to(source)


def point(path: Path, target: str) -> None:
    """Make a symbolic link to a folder or file."""
    path.symlink_to(target)


def truncate(path: Path, size: int) -> None:
    """Cut a file off behind so many bytes."""
    os.truncate(path, size)


def reserve(path: Path, size: int) -> None:
    """Make a file of so many zeros that has its room on the disk.

    What is written into a mapped file without room ends the process by a signal; this raises ``OSError`` before.
    """
    with path.open("wb") as stream:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.truncate(size)


def permit(path: Path, mode: int) -> None:
    """Say who may read and write a file."""
    path.chmod(mode)


def lock(path: Path) -> filelock.BaseFileLock:
    """Take a lock that ends with its holder; ``filelock.Timeout`` where another process has it."""
    held = filelock.FileLock(path)
    held.acquire(blocking=False)
    return held


def hand_over(path: Path, write_to: Callable[[Path], object]) -> None:
    """Have a library write the file ``path`` by itself; the caller brings it to the disk."""
    write_to(path)


def opened_for(path: Path) -> io.FileIO:
    """Open a new file for the output of another process."""
    return io.FileIO(path, "wb")


@contextlib.contextmanager
def passing_folder(name: str) -> Iterator[Path]:
    """Give a folder in the system's place for what passes; it goes with the block."""
    with tempfile.TemporaryDirectory(prefix=f"bertwright-{name}-") as folder:
        yield Path(folder)


class Stream(io.BufferedWriter):
    """A file that is being written, each piece of it through ``write``."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        super().__init__(_Raw(handle), _BUFFER)

    def sync(self) -> None:
        """Bring all that was written to the disk."""
        self.flush()
        sync(self._handle)


class _Raw(io.RawIOBase):
    """The unbuffered side of a ``Stream``. It tells nobody its handle, past which libraries would write."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._handle, offset, whence)

    def write(self, content: Any, /) -> int:
        return write(self._handle, content)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._handle)

"""Whole files and whole folders on the disk, and their checksums.

Everything that must survive a kill or a lost power line is written here: a temporary neighbour, fsync, one rename,
fsync of the folder. A reader therefore sees the old content or the new one and never half of it. Each single step goes
through ``door``.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from bertwright import door
from bertwright.errors import StoreError

TEMPORARY = ".tmp"
_BLOCK = 1 << 20
# A temporary name says whose it is: the process by its number and a mark, as numbers come again, and a count within it.
_OWN = str(secrets.randbelow(10**9))
_NEIGHBOUR = re.compile(rf"(.+)\.([0-9]+)-([0-9]+)-[0-9]+{re.escape(TEMPORARY)}", re.DOTALL)
_numbers = itertools.count()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into a ``StoreError`` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_existing(path)).free
            raise StoreError(
                f"{path}: the disk is full ({free / 1e9:.2f} GB left). Nothing finished is lost: free some space "
                "(`bertwright store gc` removes what no run needs) and give the same command again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"{path}: no permission to write ({os.strerror(error.errno)}). "
                "Give this user the right to write there, or name another folder with `store=FOLDER`."
            ) from error
        if error.errno == errno.EIO:
            raise StoreError(
                f"{path}: the disk refused a write ({os.strerror(error.errno)}). Nothing finished is lost: have a look "
                "at the disk, or copy the store to another one, and give the same command again."
            ) from error
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[door.Stream]:
    """Open ``path`` for writing bytes; it appears, whole and on disk, when the block ends without an error."""
    # Two processes, or threads, may write one file at once: each has a neighbour of its own, the last rename wins.
    temporary = _neighbour(path)
    with explained(path):
        make_folder(path.parent)
        clear(path.parent, path.name)
        try:
            with door.create(temporary) as stream:
                yield stream
                stream.sync()
            door.rename(temporary, path)
            sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # what failed is told; what cannot be put away is of no harm
                door.remove_file(temporary)
            raise


@contextlib.contextmanager
def filling(path: Path) -> Iterator[door.Stream]:
    """Open a file of a folder that is still to be whole: it is neither renamed nor brought to the disk by itself."""
    with explained(path), door.create(path) as stream:
        yield stream


def fill(path: Path, content: bytes) -> None:
    """Write a file of bytes into a folder that is still to be whole."""
    with filling(path) as stream:
        stream.write(content)


def reserve(path: Path, size: int) -> None:
    """Make a file of zeros to be mapped; ``StoreError`` where the disk has no room for it."""
    with explained(path):
        make_folder(path.parent)
        door.reserve(path, size)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content into a folder that is still to be whole."""
    with source.open("rb") as content, filling(target) as stream:
        shutil.copyfileobj(content, stream, _BLOCK)


def copy_folder(source: Path, target: Path) -> None:
    """Copy what is in a folder into one that is still to be whole; links become what they point to."""
    make_folder(target)
    for path in sorted(source.rglob("*")):
        if path.is_dir():
            make_folder(target / path.relative_to(source))
        else:
            copy(path, target / path.relative_to(source))


def same(source: Path, target: Path) -> None:
    """Give a file that nobody changes a second name, which takes no room, or copy it where the disk cannot."""
    with explained(target):
        door.remove_file(target)
        try:
            door.link(source, target)
        except OSError:
            copy(source, target)


def point(path: Path, target: Path) -> None:
    """Make, or turn, a symbolic link, by the way from its folder."""
    temporary = path.with_name(path.name + TEMPORARY)
    with explained(path):
        make_folder(path.parent)
        door.remove_file(temporary)
        door.point(temporary, os.path.relpath(target, path.parent))
        door.rename(temporary, path)
        sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder with those above it, where they are not there; a new name is on the disk when this returns."""
    if not path.is_dir():
        make_folder(path.parent)
        with explained(path):
            door.make_folder(path)
            sync(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file of bytes."""
    with writing(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole file of text, UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a whole JSON file, keys in the order given; NaN and infinities are refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def json_value(text: str | bytes) -> Any:
    """Return what a JSON text says; ``ValueError`` where it is none, or nested deeper than Python can follow."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_json(path: Path) -> Any:
    """Read a JSON file; ``ValueError`` as ``json_value``."""
    return json_value(path.read_text(encoding="utf-8"))


def json_line(row: dict[str, Any]) -> str:
    """Return a JSON object on one line; NaN and infinities are refused."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def append_json(path: Path, row: dict[str, Any]) -> None:
    """Add one line to a JSON-lines file; a reader has to bear a cut-off last line after a kill."""
    with explained(path), door.append(path) as stream:
        stream.write((json_line(row) + "\n").encode())


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file that may have been cut off inside its last line."""
    rows = []
    if path.exists():
        # Not `splitlines`: it also parts lines at letters that stand in JSON as they are, such as U+2028.
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            with contextlib.suppress(ValueError):
                rows.append(json_value(line))
    return rows


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the name ``path``, whole and on disk, when the block ends well."""
    temporary = path.with_name(path.name + TEMPORARY)
    with explained(path):
        clear(path.parent, path.name)
        remove(temporary)
        make_folder(temporary)
        yield temporary
        sync_tree(temporary)
        remove(path)
        door.rename(temporary, path)
        sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        # The folder first takes a temporary name, so that a kill leaves no half folder under the good name.
        doomed = path if path.name.endswith(TEMPORARY) else _neighbour(path)
        if doomed != path:
            door.rename(path, doomed)
        door.remove_folder(doomed)
    else:
        door.remove_file(path)


def clear(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left in a folder, half-written or half-removed; of one ``name``, or of all."""
    for left in folder.glob(f"{'*' if name is None else glob.escape(name)}.*{TEMPORARY}"):
        # What has no such name belongs to whoever holds a lock, or is the neighbour of a file with a longer name.
        found = _NEIGHBOUR.fullmatch(left.name)
        if found and name in (None, found[1]) and not _at_work(int(found[2]), found[3]):
            remove(left)


def neighbour_of(path: Path) -> str | None:
    """Return the name of the file that a temporary name of ours stands beside; nothing for any other name."""
    found = _NEIGHBOUR.fullmatch(path.name)
    return found[1] if found else None


def _neighbour(path: Path) -> Path:
    """Return a temporary name beside a path that nobody else takes."""
    return path.with_name(f"{path.name}.{os.getpid()}-{_OWN}-{next(_numbers)}{TEMPORARY}")


def _at_work(process: int, mark: str) -> bool:
    """Return whether a process runs that took a temporary name; one of this number that was killed had another mark."""
    if process == os.getpid():
        return mark == _OWN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, OSError):
        return True
    return True


def sync(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        door.sync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring a folder with all that is in it to the disk."""
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink():
            sync(path)
    sync(folder)


def checksum(path: Path) -> str:
    """Return the xxh3-128 checksum of a file's content as 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(path: Path) -> Path:
    """Return ``path`` or the nearest parent that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path

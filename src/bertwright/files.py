"""The one door to the disk: whole files, whole folders, checksums.

Everything that must survive a kill or a lost power line is written here: a temporary neighbour, fsync, one rename,
fsync of the folder. A reader therefore sees the old content or the new one and never half of it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import xxhash

from bertwright.errors import StoreError

TEMPORARY = ".tmp"


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
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open ``path`` for writing bytes; it appears, whole and on disk, when the block ends without an error."""
    # Two processes may write one file at once: each has a neighbour of its own, and the last rename wins.
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


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


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def json_line(row: dict[str, Any]) -> str:
    """Return a JSON object on one line; NaN and infinities are refused."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def append_json(path: Path, row: dict[str, Any]) -> None:
    """Add one line to a JSON-lines file; a reader has to bear a cut-off last line after a kill."""
    with explained(path), path.open("a", encoding="utf-8") as stream:
        stream.write(json_line(row) + "\n")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file that may have been cut off inside its last line."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return rows


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the name ``path``, whole and on disk, when the block ends well."""
    temporary = path.with_name(path.name + TEMPORARY)
    with explained(path):
        remove(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        sync_tree(temporary)
        remove(path)
        temporary.replace(path)
        sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        # The folder first takes a temporary name, so that a kill leaves no half folder under the good name.
        doomed = path if path.name.endswith(TEMPORARY) else path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
        if doomed != path:
            path.replace(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
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
        while block := stream.read(1 << 20):
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

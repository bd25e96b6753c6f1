"""Bytes of a file, unpacked: every compression behind one door, every fault of a packed file with a clear sentence."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa

from bertwright import door, files
from bertwright.errors import DataError
from bertwright.text.sources import TextFile

_BUFFER = 1 << 20
# The first bytes of each kind of packed file.
_MAGIC = {
    "gzip": (b"\x1f\x8b",),
    # A zstd file may start with skippable frames: 16 marks from 0x184D2A50 on, little endian.
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16))),
    "xz": (b"\xfd7zXZ\x00",),
    "bzip2": tuple(b"BZh%d1AY&SY" % level for level in range(1, 10))
    + tuple(b"BZh%d\x17rE8P\x90" % n for n in range(1, 10)),
}


@contextlib.contextmanager
def unpacked(file: TextFile, progress: Callable[[int], None], *, skip: int = 0) -> Iterator[IO[bytes]]:
    """Open a file for reading its uncompressed bytes as a stream, all members and frames of it, from byte ``skip`` on.

    ``progress`` is told how many bytes of the file, as it lies on the disk, are read. ``DataError`` names the file
    where it cannot be opened, is cut off, is damaged, or is not what its suffix says.
    """
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(file.path.open("rb", buffering=0))
        except OSError as error:
            raise DataError(f"{file.path} cannot be opened: {error.strerror}. {_remedy(error)}") from error
        _check_kind(file, raw.read(16))
        raw.seek(skip if file.compression is None else 0)
        packed = stack.enter_context(
            io.BufferedReader(cast(io.RawIOBase, _Counted(raw, progress, raw.tell())), _BUFFER)
        )
        with _faults_explained(file):
            stream = stack.enter_context(_unpack(file.compression, packed))
            if file.compression is not None:
                _discard(stream, skip)
            yield stream


def _remedy(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "Put it back, or name another file."
    if isinstance(error, PermissionError):
        return "Give this user the right to read it."
    return "Name an ordinary file that this machine can read."


def _unpack(compression: str | None, packed: io.BufferedReader[io.RawIOBase]) -> IO[bytes]:
    if compression == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=packed, mode="rb"), _BUFFER)
    if compression == "xz":
        return io.BufferedReader(_Members(packed, lzma.LZMADecompressor), _BUFFER)
    if compression == "bzip2":
        return io.BufferedReader(_Members(packed, bz2.BZ2Decompressor), _BUFFER)
    if compression == "zstd":
        # Arrow's reader goes on after the first frame and refuses a cut-off one; zstandard's does not tell the latter.
        return io.BufferedReader(
            cast(io.RawIOBase, pa.CompressedInputStream(pa.PythonFile(packed, "r"), "zstd")), _BUFFER
        )
    return packed


@contextlib.contextmanager
def unpacked_file(file: TextFile) -> Iterator[Path]:
    """Give the path of a file as it is, or of a temporary copy unpacked: parquet is read from its end."""
    if file.compression is None:
        yield file.path
        return
    with door.passing_folder("unpacked") as folder:
        plain = folder / "plain.parquet"
        with unpacked(file, lambda _: None) as stream, files.filling(plain) as copy:
            shutil.copyfileobj(stream, copy)
        yield plain


def _discard(stream: IO[bytes], count: int) -> None:
    """Read ``count`` bytes and forget them."""
    while count > 0 and (content := stream.read(min(count, _BUFFER))):
        count -= len(content)


def _check_kind(file: TextFile, start: bytes) -> None:
    """Compare the first bytes with what the file's name says."""
    kind = next((kind for kind, marks in _MAGIC.items() if start.startswith(marks)), None)
    if kind == file.compression:
        return
    if file.compression is None:
        raise DataError(f"{file.path} holds {kind} data, and its name does not say so. Give it the suffix of {kind}.")
    found = "0 bytes" if not start else f"{kind} data" if kind else "no packed data"
    raise DataError(
        f"{file.path} is named as a {file.compression} file and holds {found}. Rename it, or copy it here once more."
    )


@contextlib.contextmanager
def _faults_explained(file: TextFile) -> Iterator[None]:
    """Turn the many errors of the unpackers into one kind that names the file."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{file.path} is cut off or damaged ({type(error).__name__}: {error}). "
            "Copy it once more from where it came from; nothing after this place can be read."
        ) from error


class _Counted(io.RawIOBase):
    """A file that tells how far it has been read."""

    def __init__(self, raw: BinaryIO | io.FileIO, progress: Callable[[int], None], done: int) -> None:
        self._raw = raw
        self._progress = progress
        self._done = done

    def readable(self) -> bool:
        """Return True: this is for reading."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place of the file."""
        self._done = self._raw.seek(offset, whence)
        return self._done

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the file and tell the new position."""
        count = cast(io.FileIO, self._raw).readinto(buffer)
        if count:
            self._done += count
            self._progress(self._done)
        return count


class _Members(io.RawIOBase):
    """All members of an xz or bzip2 file; unlike the standard library's files it refuses anything else behind them."""

    def __init__(
        self,
        packed: io.BufferedReader[io.RawIOBase],
        decompressor: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor],
    ) -> None:
        self._packed = packed
        self._new = decompressor
        self._now = decompressor()
        self._rest = b""
        self._begun = False

    def readable(self) -> bool:
        """Return True: this is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with unpacked bytes; 0 at the end of the last member."""
        while True:
            if self._now.eof:
                self._rest, self._now, self._begun = self._now.unused_data, self._new(), False
            data = b""
            if self._now.needs_input:
                data = self._more()
                if not data and self._begun:
                    raise EOFError("the file ends inside a packed member")
                if not data:
                    return 0
            self._begun = True
            content = self._now.decompress(data, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)

    def _more(self) -> bytes:
        """Return packed bytes, none only at the file's end; zero bytes between members are allowed and left out."""
        while data := self._rest or self._packed.read1():
            self._rest = b""
            data = data if self._begun else data.lstrip(b"\0")
            if data:
                return data
        return b""

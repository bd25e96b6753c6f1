"""Writing rows into numbered files of a fixed number of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import xxhash

from bertwright import files
from bertwright.text.rows import Ids


@dataclass(frozen=True)
class Shard:
    """One written file: its name in the folder, its split, its number of rows, the checksum of its content."""

    name: str
    split: str
    rows: int
    checksum: str


class ShardWriter:
    """Writes one split's rows (B x T, raw, little-endian) to ``split-00000.bin`` and on, ``shard_rows`` to a file.

    A context manager: files are whole and on disk when they are full and when the block ends well.
    """

    def __init__(self, folder: Path, split: str, shard_rows: int) -> None:
        self._folder = folder
        self._split = split
        self._shard_rows = shard_rows
        self._open = contextlib.ExitStack()
        self._stream: IO[bytes] | None = None
        self._digest = xxhash.xxh3_128()
        self._filled = 0
        self.shards: list[Shard] = []

    def __enter__(self) -> ShardWriter:
        """Start without a file; one is made with the first row."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Finish the last file, or remove it where an error came."""
        if error is None:
            self._finish()
        else:
            self._open.__exit__(kind, error, error.__traceback__)

    @property
    def rows(self) -> int:
        """The number of rows written so far."""
        return sum(shard.rows for shard in self.shards) + self._filled

    def write(self, rows: Ids) -> None:
        """Add rows; how many come at once does not change the files."""
        for part in self._parts(rows):
            if self._stream is None:
                name = f"{self._split}-{len(self.shards):05d}.bin"
                self._stream = self._open.enter_context(files.writing(self._folder / name))
            content = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"), copy=False)).tobytes()
            self._digest.update(content)
            self._stream.write(content)
            self._filled += len(part)
            if self._filled == self._shard_rows:
                self._finish()

    def _parts(self, rows: Ids) -> Iterator[Ids]:
        """Cut rows where a file is full."""
        start = 0
        while start < len(rows):
            end = min(len(rows), start + self._shard_rows - self._filled)
            yield rows[start:end]
            start = end

    def _finish(self) -> None:
        if self._stream is None:
            return
        self._open.close()
        name = f"{self._split}-{len(self.shards):05d}.bin"
        self.shards.append(Shard(name, self._split, self._filled, self._digest.hexdigest()))
        self._stream, self._digest, self._filled = None, xxhash.xxh3_128(), 0

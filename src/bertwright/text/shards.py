"""Prepared rows on the disk, read back by number.

A folder holds ``train-00000.bin`` and on, ``held_out-00000.bin`` and on (raw little-endian ids, row after row),
``manifest.json`` (what they are) and, where something was left out, ``troubles.jsonl`` and ``duplicates.jsonl``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files
from bertwright.errors import DataError
from bertwright.text.rows import Ids
from bertwright.text.tokenizer import Tokenizer

FORMAT = "bertwright rows 1"
MANIFEST = "manifest.json"
SPLITS = ("train", "held_out")
SHARD_BYTES = 1 << 24
_MOST_MAPPED = 256  # shards at once: systems let a process have a thousand files open


@dataclass(frozen=True)
class Shard:
    """One file of rows: its name in the folder, its split, its number of rows, the checksum of its content."""

    name: str
    split: str
    rows: int
    checksum: str


class Shards:
    """Prepared rows of a folder, read by number; files are mapped into memory when they are first needed.

    ``DataError`` where the folder holds none, another format, or a shard that is missing or of another size.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        manifest = _read_manifest(folder)
        self.row_length: int = manifest["row_length"]
        self.tokenizer_identity: str = manifest["tokenizer"]
        self.pad_id: int = manifest["pad_id"]
        self.sep_id: int = manifest["sep_id"]
        self.dtype = np.dtype(manifest["dtype"])
        shards = [Shard(**entry) for entry in manifest["shards"]]
        self._shards = {split: [shard for shard in shards if shard.split == split] for split in SPLITS}
        self._ends = {
            split: np.cumsum([shard.rows for shard in self._shards[split]], dtype=np.int64) for split in SPLITS
        }
        self._mapped: dict[str, Ids] = {}
        for shard in shards:
            _check_size(folder / shard.name, shard.rows * self.row_length * self.dtype.itemsize)

    def rows(self, split: str) -> int:
        """Return the number of rows of ``train`` or ``held_out``."""
        return sum(shard.rows for shard in self._shards[split])

    def ids(self, split: str, indices: npt.NDArray[np.integer]) -> Ids:
        """Return rows by number, in the order asked for: B indices to B x T ids, uint16 or uint32, a copy."""
        if len(indices) and not (0 <= indices.min() and indices.max() < self.rows(split)):
            raise IndexError(
                f"{split} has rows 0 to {self.rows(split) - 1}; asked for {indices.min()} to {indices.max()}"
            )
        rows = np.empty((len(indices), self.row_length), dtype=self.dtype)
        places = np.searchsorted(self._ends[split], indices, side="right")
        for place in np.unique(places).tolist():
            shard = self._shards[split][place]
            wanted = places == place
            rows[wanted] = self._map(shard)[indices[wanted] - (self._ends[split][place] - shard.rows)]
        return rows

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer that did not write these rows, with a ``DataError`` that names both."""
        if tokenizer.identity() != self.tokenizer_identity:
            raise DataError(
                f"{self._folder} was prepared with tokenizer {self.tokenizer_identity}, not {tokenizer.identity()}. "
                "Use the tokenizer that lies beside the rows, or prepare the text again."
            )

    def decoded(self, tokenizer: Tokenizer, split: str, index: int) -> str:
        """Return one row as text with its special tokens, as the model sees it; ``DataError`` for another tokenizer."""
        self.check_tokenizer(tokenizer)
        return tokenizer.decode(self.ids(split, np.array([index]))[0].tolist(), show_special=True)

    def _map(self, shard: Shard) -> Ids:
        if shard.name not in self._mapped:
            shape = (shard.rows, self.row_length)
            # It was there when the folder was opened; whoever trains for days meets a disk that went meanwhile.
            _check_size(self._folder / shard.name, shard.rows * self.row_length * self.dtype.itemsize)
            if len(self._mapped) >= _MOST_MAPPED:
                del self._mapped[next(iter(self._mapped))]
            self._mapped[shard.name] = np.memmap(self._folder / shard.name, dtype=self.dtype, mode="r", shape=shape)
        return self._mapped[shard.name]


def manifest(tokenizer: Tokenizer, row_length: int, dtype: str, shards: Sequence[Shard]) -> dict[str, Any]:
    """Return what a folder of rows says of itself."""
    return {
        "format": FORMAT,
        "dtype": dtype,
        "row_length": row_length,
        "vocabulary": tokenizer.vocabulary,
        "tokenizer": tokenizer.identity(),
        "pad_id": tokenizer.pad_id,
        "cls_id": tokenizer.cls_id,
        "sep_id": tokenizer.sep_id,
        "mask_id": tokenizer.mask_id,
        "shards": [asdict(shard) for shard in shards],
    }


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest, which is what makes a folder one of rows."""
    files.write_json(folder / MANIFEST, content)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = files.read_json(path)
        found = manifest.get("format")
    except FileNotFoundError:
        raise DataError(f"{path} is not there. Name a folder that `bertwright prepare` wrote.") from None
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}). Copy the folder once more, or prepare the text again."
        ) from error
    if found != FORMAT:
        raise DataError(f"{path} is of the format {found!r}, and {FORMAT!r} is expected. Prepare the text again.")
    return manifest


def _check_size(path: Path, expected: int) -> None:
    found = path.stat().st_size if path.is_file() else None
    if found != expected:
        raise DataError(
            f"{path} {'is not there' if found is None else f'has {found} bytes'}; {expected} bytes are expected. "
            "Copy the folder once more, or prepare the text again."
        )

"""From encoded parts to shards: rows of one part at a time, then one bucket of rows at a time.

Both are jobs for any process: they read what earlier ones left on the disk and write files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from bertwright import files
from bertwright.processes import Tell, silent
from bertwright.text.encoded_parts import DOCUMENTS, IDS
from bertwright.text.rows import Frame, Ids, contiguous, packed, stream_of
from bertwright.text.shuffle import buckets_of, keys_of

PARTS, SELECTION = "parts", "selection"
_DONE = "done.json"


@dataclass(frozen=True)
class Split:
    """How one split is laid out: the stream of its kept documents over all parts, and the window of it that is used.

    ``starts`` holds where each part's stream begins, and the end of the last; ``buckets`` is the number of shards.
    """

    name: str
    layout: str
    starts: tuple[int, ...]
    window: tuple[int, int]
    buckets: int
    seed: int


@dataclass(frozen=True)
class Layout:
    """All that the jobs share, as plain values: where the encoded parts lie, in order, and how rows are framed."""

    scratch: Path
    parts: tuple[str, ...]
    dtype: str
    frame: Frame

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "scratch": str(self.scratch)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Layout:
        """Return what ``as_json`` described."""
        return cls(Path(content["scratch"]), tuple(content["parts"]), content["dtype"], Frame(**content["frame"]))

    def kept(self, split: str, part: int) -> npt.NDArray[np.bool_]:
        """Return which documents of a part are in a split."""
        found: npt.NDArray[np.bool_] = np.load(self.scratch / SELECTION / split / f"{self.parts[part]}.npy")
        return found

    def lengths(self, part: int) -> npt.NDArray[np.int64]:
        """Return how many ids each document of a part has."""
        records = np.load(self.scratch / PARTS / self.parts[part] / DOCUMENTS, mmap_mode="r")
        lengths: npt.NDArray[np.int64] = records["tokens"].astype(np.int64)
        return lengths

    def ids(self, part: int) -> Ids:
        """Return a part's ids, mapped from the disk."""
        path = self.scratch / PARTS / self.parts[part] / IDS
        if path.stat().st_size == 0:
            return np.empty(0, dtype=self.dtype)
        return np.memmap(path, dtype=self.dtype, mode="r")

    def stream(self, split: str, part: int) -> Ids:
        """Return a part's stream of a split."""
        return stream_of(self.ids(part), self.lengths(part), self.kept(split, part), self.frame.sep_id)


def cut_rows(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Cut one part's rows of a split and write them ordered by bucket; return how many there are.

    A row belongs to the part in which its first id lies; its rest may come from the parts behind.
    """
    layout, split, part = Layout.from_json(argument["layout"]), Split(**argument["split"]), argument["part"]
    folder = _rows_folder(layout.scratch, split.name, layout.parts[part])
    if (folder / _DONE).is_file():
        done: dict[str, Any] = files.read_json(folder / _DONE)
        return done
    if split.layout == "packed":
        rows = packed(layout.ids(part), layout.lengths(part), layout.kept(split.name, part), layout.frame)
    else:
        rows = contiguous(_own_stream(layout, split, part), layout.frame)
    keys = keys_of(part, len(rows), split.seed)
    buckets = buckets_of(keys, split.buckets)
    order = np.argsort(buckets, kind="stable")
    with files.writing_folder(folder) as partial:
        (partial / "rows.bin").write_bytes(rows[order].tobytes())
        (partial / "keys.bin").write_bytes(keys[order].tobytes())
        counts = np.bincount(buckets, minlength=split.buckets).tolist()
        ids = int(np.count_nonzero(rows != layout.frame.pad_id))
        done = {"rows": len(rows), "filled": ids, "ends": np.cumsum([0, *counts]).tolist()}
        files.write_json(partial / _DONE, done)
    return done


def _own_stream(layout: Layout, split: Split, part: int) -> Ids:
    """Return the piece of a split's stream from the first row that begins in a part to the end of its last."""
    piece, (low, high) = layout.frame.piece, split.window
    start, end = split.starts[part], min(split.starts[part + 1], high)
    first, last = max(0, -(-(start - low) // piece)), -(-(end - low) // piece)
    if last <= first:
        return np.empty(0, dtype=layout.dtype)
    begin, stop = low + first * piece, min(low + last * piece, high)
    found: list[Ids] = []
    place = begin
    for number in range(part, len(layout.parts)):
        if place >= stop:
            break
        if split.starts[number + 1] > place:
            offset = split.starts[number]
            found.append(layout.stream(split.name, number)[place - offset : stop - offset])
            place += len(found[-1])
    return np.concatenate(found)


def write_shard(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Put one bucket's rows of a split in the order of their keys and write them as a shard."""
    layout, split, bucket = Layout.from_json(argument["layout"]), Split(**argument["split"]), argument["bucket"]
    dtype, length = np.dtype(layout.dtype), layout.frame.row_length
    rows, keys = [np.empty((0, length), dtype=dtype)], [np.empty(0, dtype=np.uint64)]
    for folder, start, end in _slices(layout, split, bucket):
        offset = start * length * dtype.itemsize
        found = np.fromfile(folder / "rows.bin", dtype, (end - start) * length, offset=offset)
        rows.append(found.reshape(-1, length))
        keys.append(np.fromfile(folder / "keys.bin", np.uint64, end - start, offset=start * 8))
    order = np.argsort(np.concatenate(keys), kind="stable")
    content = np.concatenate(rows)[order].tobytes()
    name = f"{split.name}-{bucket:05d}.bin"
    files.write_bytes(Path(argument["folder"]) / name, content)
    checksum = xxhash.xxh3_128_hexdigest(content)
    return {"name": name, "split": split.name, "rows": len(order), "checksum": checksum}


def _slices(layout: Layout, split: Split, bucket: int) -> Iterator[tuple[Path, int, int]]:
    """Give the folders with rows of a bucket, and from which to which row."""
    for part in layout.parts:
        folder = _rows_folder(layout.scratch, split.name, part)
        ends = files.read_json(folder / _DONE)["ends"]
        if ends[bucket] < ends[bucket + 1]:
            yield folder, ends[bucket], ends[bucket + 1]


def _rows_folder(scratch: Path, split: str, part: str) -> Path:
    return scratch / f"rows-{split}" / part

"""From encoded blocks to shards: rows of one segment at a time, then one bucket of rows at a time.

Both are jobs for any process: they read what earlier ones left on the disk and write files of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
_DONE, _ENDS = "done.json", "ends.bin"


@dataclass(frozen=True)
class Split:
    """How one split is laid out: the stream of its documents, segment by segment, and the window of it that is used.

    A segment is a block and how many times the documents that are meant have come before; ``starts`` holds where each
    one's stream begins, and the end of the last; ``buckets`` is the number of shards.
    """

    name: str
    layout: str
    segments: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    window: tuple[int, int]
    buckets: int
    seed: int


@dataclass(frozen=True)
class Layout:
    """All that the jobs share, as plain values: where the encoded blocks lie, in order, and how rows are framed."""

    scratch: Path
    blocks: tuple[str, ...]
    dtype: str
    frame: Frame

    def write(self, splits: Iterable[Split]) -> Path:
        """Write it with the splits to a file, which is all that the jobs have to be told of; return its path."""
        path = self.scratch / "layout.json"
        content = {"blocks": self.blocks, "dtype": self.dtype, "frame": asdict(self.frame)}
        files.write_json(path, {**content, "splits": {split.name: asdict(split) for split in splits}})
        return path

    @classmethod
    def read(cls, path: Path, split: str) -> tuple[Layout, Split]:
        """Return what ``write`` wrote, and one of the splits."""
        content = files.read_json(path)
        layout = cls(path.parent, tuple(content["blocks"]), content["dtype"], Frame(**content["frame"]))
        return layout, Split(**content["splits"][split])

    def documents(self, split: Split, segment: int) -> tuple[Ids, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return a block's ids, mapped from the disk, the number of each document's, and which ones are meant."""
        block, before = split.segments[segment]
        folder = self.scratch / PARTS / self.blocks[block]
        copies = np.load(self.scratch / SELECTION / split.name / f"{self.blocks[block]}.npy")
        lengths = np.load(folder / DOCUMENTS, mmap_mode="r")["tokens"].astype(np.int64)
        return np.memmap(folder / IDS, dtype=self.dtype, mode="r"), lengths, copies > before

    def stream(self, split: Split, segment: int) -> Ids:
        """Return a segment's stream."""
        return stream_of(*self.documents(split, segment), self.frame.sep_id)

    def rows_folder(self, split: Split, segment: int) -> Path:
        """Return where a segment's rows lie."""
        block, before = split.segments[segment]
        return self.scratch / f"rows-{split.name}" / f"{before:03d}" / self.blocks[block]


def cut_rows(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Cut one segment's rows of a split and write them ordered by bucket; return how many there are.

    A row belongs to the segment in which its first id lies; its rest may come from those behind.
    """
    layout, split = Layout.read(Path(argument["layout"]), argument["split"])
    segment = argument["number"]
    folder = layout.rows_folder(split, segment)
    if (folder / _DONE).is_file():
        done: dict[str, Any] = files.read_json(folder / _DONE)
        return done
    if split.layout == "packed":
        rows = packed(*layout.documents(split, segment), layout.frame)
    else:
        rows = contiguous(_own_stream(layout, split, segment), layout.frame)
    keys = keys_of(segment, len(rows), split.seed)
    buckets = buckets_of(keys, split.buckets)
    order = np.argsort(buckets, kind="stable")
    with files.writing_folder(folder) as partial:
        files.fill(partial / "rows.bin", rows[order].tobytes())
        files.fill(partial / "keys.bin", keys[order].tobytes())
        counts = np.bincount(buckets, minlength=split.buckets).tolist()
        ids = int(np.count_nonzero(rows != layout.frame.pad_id))
        files.fill(partial / _ENDS, np.cumsum([0, *counts]).astype("<i8").tobytes())
        done = {"rows": len(rows), "filled": ids}
        files.write_json(partial / _DONE, done)
    return done


def _own_stream(layout: Layout, split: Split, segment: int) -> Ids:
    """Return the piece of a split's stream from the first row that begins in a segment to the end of its last."""
    piece, (low, high) = layout.frame.piece, split.window
    start, end = split.starts[segment], min(split.starts[segment + 1], high)
    first, last = max(0, -(-(start - low) // piece)), -(-(end - low) // piece)
    if last <= first:
        return np.empty(0, dtype=layout.dtype)
    begin, stop = low + first * piece, min(low + last * piece, high)
    found: list[Ids] = []
    place = begin
    for number in range(segment, len(split.segments)):
        if place >= stop:
            break
        if split.starts[number + 1] > place:
            offset = split.starts[number]
            found.append(layout.stream(split, number)[place - offset : stop - offset])
            place += len(found[-1])
    return np.concatenate(found)


def write_shard(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Put one bucket's rows of a split in the order of their keys and write them as a shard."""
    layout, split = Layout.read(Path(argument["layout"]), argument["split"])
    bucket = argument["number"]
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
    for segment in range(len(split.segments)):
        folder = layout.rows_folder(split, segment)
        start, end = np.fromfile(folder / _ENDS, "<i8", 2, offset=8 * bucket).tolist()
        if start < end:
            yield folder, start, end

"""Files of text to shuffled rows of ids: the road from the sources to the shards, in bounded memory.

encode (a part at a time) -> leave out repeats -> hold out documents -> cut rows (a part at a time, ordered by bucket)
-> write shards (a bucket at a time, each sorted). What each step leaves lies in ``scratch``, so that a killed run goes
on where it stood; the same input gives the same bytes with any number of processes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files
from bertwright.errors import DataError
from bertwright.text.cleaning import Cleaning
from bertwright.text.documents import Troubles
from bertwright.text.encoded_parts import IDS, PartJob, encode_part, id_type
from bertwright.text.engine import Engine
from bertwright.text.executors import Crew
from bertwright.text.held_out import tail_rows
from bertwright.text.memory import room_for
from bertwright.text.mixing import Mix
from bertwright.text.parts import PART_BYTES, Part
from bertwright.text.rows import Frame
from bertwright.text.segments import PARTS, Layout, Split, cut_rows, write_shard
from bertwright.text.selection import Block, Selection, Selector, Wanted
from bertwright.text.shards import SHARD_BYTES, SPLITS, Shard
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer

_SAMPLE = 1 << 18  # characters of the user's own text that both libraries encode before the work
_SAMPLE_FILES = 32
PIECES = "pieces"
_DISAGREEMENT = "disagreement.json"


def unheard(_read: int, _text: int) -> None:
    """Take a report of progress and do nothing."""


@dataclass(frozen=True)
class Choices:
    """What the recipe says of rows."""

    row_length: int
    held_out: float
    seed: int
    errors: str = "stop"
    broken_rows: str = "stop"
    layout: str = "contiguous"
    duplicates: str = "remove"
    near: float | None = None
    cleaning: Cleaning = field(default_factory=Cleaning)
    mix: Mix = field(default_factory=Mix)


@dataclass(frozen=True)
class Found:
    """What encoding found, part by part and block by block, in the order of the text."""

    parts: tuple[Part, ...]
    counts: tuple[Mapping[str, Any], ...]
    blocks: tuple[Block, ...]
    engine: Mapping[str, Any]


class Corpus:
    """The steps from files to shards; each leaves its result in ``scratch`` and is taken up from there."""

    def __init__(
        self,
        text_files: Sequence[TextFile],
        tokenizer: Path,
        choices: Choices,
        *,
        scratch: Path,
        crew: Crew,
        memory: int = 1 << 30,
        progress: Callable[[int, int], None] = unheard,
        shard_bytes: int = SHARD_BYTES,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._files, self._choices, self._scratch = tuple(text_files), choices, scratch
        self._tokenizer_folder, self.tokenizer = tokenizer, Tokenizer.load(tokenizer)
        self._crew, self._memory, self._progress = crew, memory, progress
        self._shard_bytes, self._part_bytes = shard_bytes, part_bytes
        self._room = room_for(memory, crew.places)
        special = (self.tokenizer.cls_id, self.tokenizer.sep_id, self.tokenizer.pad_id)
        self._frame = Frame(choices.row_length, *special)

    def encode(self) -> Found:
        """Encode all parts, with tokie where it gives the right ids for the user's own text."""
        engine = Engine(self.tokenizer)
        engine.prove(self._sample())
        before = [_stamp(file.path) for file in self._files]
        reason = engine.reason or self._disagreement()
        parts, counts = self._encode_parts(fast=not reason)
        if not reason and (reason := next((one["disagreement"] for one in counts if one["disagreement"]), "")):
            self._begin_again(reason)
            parts, counts = self._encode_parts(fast=False)
        for file, stamp in zip(self._files, before, strict=True):
            if _stamp(file.path) != stamp:
                files.remove(self._scratch / PARTS)  # what was read of it must never be taken for what is there later
                raise DataError(
                    f"{file.path} changed while it was read. Give the same command again when it is at rest."
                )
        told = {
            "name": "tokenizers" if reason else "tokie",
            "reason": reason,
            "compared": engine.compared + sum(one["compared"] for one in counts),
            "by_tokenizers": sum(one["by_tokenizers"] for one in counts),
        }
        files.remove(self._scratch / PIECES)
        return Found(tuple(parts), tuple(counts), tuple(self._blocks(parts, counts)), told)

    def _begin_again(self, reason: str) -> None:
        """Remove what tokie encoded, and leave word of it: whoever goes on from here must not ask tokie for the rest.

        The note lies among the parts, so that it goes with them.
        """
        files.remove(self._scratch / PARTS)
        files.write_json(self._scratch / PARTS / _DISAGREEMENT, {"reason": reason})

    def _disagreement(self) -> str:
        """Return why a run that was stopped had given tokie up, or nothing."""
        path = self._scratch / PARTS / _DISAGREEMENT
        return str(files.read_json(path)["reason"]) if path.is_file() else ""

    def _blocks(self, parts: Sequence[Part], counts: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
        for part, found in zip(parts, counts, strict=True):
            source = self._files[part.file].source
            for number, block in enumerate(found["blocks"]):
                yield Block(f"{part.name}/{number:05d}", part.file, source, block["documents"])

    def _encode_parts(self, *, fast: bool) -> tuple[list[Part], list[dict[str, Any]]]:
        parts: list[Part] = []
        found: list[dict[str, Any]] = []
        sizes = [0, *itertools.accumulate(file.path.stat().st_size for file in self._files)]
        text = 0
        job = functools.partial(self._job, fast=fast)
        where = self._part_bytes, self._scratch / PIECES
        for part, counts in self._crew.each_part(encode_part, self._files, *where, job):
            parts.append(part)
            found.append(counts)
            text += counts["bytes"]
            self._progress(sizes[part.file] + part.reached, text)
        return parts, found

    def select(self, found: Found, unwanted: npt.NDArray[np.uint64]) -> Selection:
        """Leave out repeats and ``unwanted`` hashes (m, 2), hold out documents, mix the sources."""
        choices = self._choices
        wanted = Wanted(
            duplicates=choices.duplicates == "remove",
            near=choices.near,
            unwanted=unwanted,
            held_out=choices.held_out,
            mix=choices.mix,
            seed=choices.seed,
        )
        return Selector(self._scratch, found.blocks, wanted, memory=self._memory).select()

    def lay_out(self, found: Found, selection: Selection) -> tuple[Layout, list[Split]]:
        """Say where each part's rows are in each split; ``DataError`` where there is too little text."""
        choices, piece = self._choices, self._frame.piece
        splits = []
        windows = {split: (0, max(0, starts[-1] - 1)) for split, starts in selection.starts.items()}
        if selection.tail:
            total = windows["train"][1]
            rows = -(-total // piece)
            cut = max(0, rows - tail_rows(rows, choices.held_out)) * piece
            windows = {"train": (0, cut), "held_out": (cut, total)}
        _check_enough(windows, choices.row_length)
        for number, split in enumerate(SPLITS):
            low, high = windows[split]
            splits.append(
                Split(
                    name=split,
                    layout="contiguous" if selection.tail else choices.layout,
                    segments=tuple(selection.segments[split]),
                    starts=tuple(selection.starts[split]),
                    window=windows[split],
                    buckets=max(1, -(-(high - low) // (piece * self._rows_a_shard()))),
                    seed=2 * choices.seed + number,
                )
            )
        names = tuple(block.name for block in found.blocks)
        return Layout(self._scratch, names, id_type(self.tokenizer).str, self._frame), splits

    def _rows_a_shard(self) -> int:
        """Return how many rows a shard has: one is sorted in memory, so long rows are fewer."""
        return max(1, self._shard_bytes // (self._frame.row_length * id_type(self.tokenizer).itemsize))

    def write(self, layout: Layout, splits: Sequence[Split], folder: Path) -> tuple[list[Shard], dict[str, int]]:
        """Cut rows and write the shards; return them, and how many places of each split's rows are filled."""
        path = layout.write(splits)
        filled = dict.fromkeys(SPLITS, 0)
        for split in splits:
            job = functools.partial(_numbered, str(path), split.name, str(folder))
            for _, done in self._crew.each(cut_rows, range(len(split.segments)), job):
                filled[split.name] += done["filled"]
        for block in layout.blocks:
            # All their ids are in rows now: the disk has to hold them once more in the shards.
            files.remove(self._scratch / PARTS / block / IDS)
        shards = [
            Shard(**shard)
            for split in splits
            for _, shard in self._crew.each(
                write_shard, range(split.buckets), functools.partial(_numbered, str(path), split.name, str(folder))
            )
        ]
        return [shard for shard in shards if shard.rows], filled

    def _job(self, part: Part, *, fast: bool) -> dict[str, Any]:
        choices = self._choices
        return PartJob(
            part=part,
            file=self._files[part.file],
            folder=self._scratch / PARTS,
            tokenizer=self._tokenizer_folder,
            fast=fast,
            errors=choices.errors,
            broken_rows=choices.broken_rows,
            cleaning=choices.cleaning,
            room=self._room,
            near=choices.near is not None,
        ).as_json()

    def _sample(self) -> list[str]:
        """Return some of the user's own text: the beginnings of documents of some files."""
        choices = self._choices
        sample: list[str] = []
        some = self._files[:: max(1, len(self._files) // _SAMPLE_FILES)]
        share = _SAMPLE // max(1, len(some))
        for file in some:
            size = 0
            texts = choices.cleaning.documents(
                file, errors=choices.errors, broken_rows=choices.broken_rows, troubles=Troubles(), room=self._room
            )
            for text in texts:
                sample.append(text[: share + 1])
                size += len(sample[-1])
                if size > share:
                    break
        return sample


def _numbered(layout: str, split: str, folder: str, number: int) -> dict[str, Any]:
    """Return the argument of a job on a segment or a bucket."""
    return {"layout": layout, "split": split, "folder": folder, "number": number}


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _check_enough(windows: Mapping[str, tuple[int, int]], row_length: int) -> None:
    """Refuse a corpus without one full row to train on, or without a token to measure on."""
    train, held = (windows[split][1] - windows[split][0] for split in SPLITS)
    if train >= row_length - 2 and held > 0:
        return
    raise DataError(
        f"The sources give {train} tokens to train on and {held} to measure on; at least one row of {row_length - 2} "
        "and one token are needed. Add text, or make `prepare.row_length` or `prepare.held_out` smaller."
    )

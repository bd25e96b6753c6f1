"""Files of text to shuffled rows of ids: the road from the sources to the shards, in bounded memory.

encode (a part at a time) -> leave out repeats -> hold out documents -> cut rows (a part at a time, ordered by bucket)
-> write shards (a bucket at a time, each sorted). What each step leaves lies in ``scratch``, so that a killed run goes
on where it stood; the same input gives the same bytes with any number of processes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files
from bertwright.errors import DataError, InputError
from bertwright.text import near
from bertwright.text.cleaning import Cleaning
from bertwright.text.documents import Troubles, documents
from bertwright.text.duplicates import find_repeats
from bertwright.text.encoded_parts import DOCUMENTS, IDS, SIGNATURES, PartJob, encode_part, id_type
from bertwright.text.engine import Engine
from bertwright.text.executors import Crew
from bertwright.text.held_out import choose_held_out, tail_rows
from bertwright.text.parts import PART_BYTES, Part, parts_of
from bertwright.text.rows import Frame
from bertwright.text.segments import PARTS, SELECTION, Layout, Split, cut_rows, write_shard
from bertwright.text.shards import SHARD_ROWS, SPLITS, Shard
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer

_SAMPLE = 1 << 18  # characters of the user's own text that both libraries encode before the work
_SAMPLE_FILES = 32


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


@dataclass(frozen=True)
class Found:
    """What encoding found, part by part, in the order of the text."""

    parts: tuple[Part, ...]
    counts: tuple[Mapping[str, Any], ...]
    engine: Mapping[str, Any]


@dataclass(frozen=True)
class Selection:
    """Which documents are in which split, (n,) each; their ids' counts; where the parts' documents end, but the last.

    ``tail`` says that there is one document, whose last rows are held out. ``first`` holds for each document the one
    that it repeats, itself where it repeats none; ``exact`` is false where the texts are the same. ``overlapping``
    counts the others that were not wanted.
    """

    flags: Mapping[str, npt.NDArray[np.bool_]]
    tokens: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    tail: bool
    first: npt.NDArray[np.int64]
    exact: npt.NDArray[np.bool_]
    overlapping: int

    def repeats(self) -> npt.NDArray[np.int64]:
        """Return the numbers of the documents that were left out because an earlier one is the same, or nearly."""
        return np.flatnonzero(self.first != np.arange(len(self.first)))

    def streams(self, split: str) -> list[int]:
        """Return where each part's stream begins in a split, and where the last ends; [SEP] is behind each document."""
        mine = np.where(self.flags[split] & (self.tokens > 0), self.tokens + 1, 0)
        sizes = [int(part.sum()) for part in np.split(mine, self.ends)]
        return [0, *itertools.accumulate(sizes)]


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
        shard_rows: int = SHARD_ROWS,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._files, self._choices, self._scratch = tuple(text_files), choices, scratch
        self._tokenizer_folder, self._tokenizer = tokenizer, Tokenizer.load(tokenizer)
        self._crew, self._memory, self._progress = crew, memory, progress
        self._shard_rows, self._part_bytes = shard_rows, part_bytes
        special = (self._tokenizer.cls_id, self._tokenizer.sep_id, self._tokenizer.pad_id)
        self._frame = Frame(choices.row_length, *special)

    def encode(self) -> Found:
        """Encode all parts, with tokie where it gives the right ids for the user's own text."""
        engine = Engine(self._tokenizer)
        engine.prove(self._sample())
        before = [_stamp(file.path) for file in self._files]
        parts, counts = self._encode_parts(fast=engine.name == "tokie")
        reason = next((one["disagreement"] for one in counts if one["disagreement"]), engine.reason)
        if reason and engine.name == "tokie":
            files.remove(self._scratch / PARTS)
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
        return Found(tuple(parts), tuple(counts), told)

    def _encode_parts(self, *, fast: bool) -> tuple[list[Part], list[dict[str, Any]]]:
        parts: list[Part] = []
        found: list[dict[str, Any]] = []
        sizes = [0, *itertools.accumulate(file.path.stat().st_size for file in self._files)]
        text = 0
        job = functools.partial(self._job, fast=fast)
        for part, counts in self._crew.each_part(encode_part, self._files, self._part_bytes, job):
            parts.append(part)
            found.append(counts)
            text += counts["bytes"]
            self._progress(sizes[part.file] + counts["position"], text)
        return parts, found

    def select(self, found: Found, unwanted: npt.NDArray[np.uint64]) -> Selection:
        """Leave out repeats and ``unwanted`` hashes (m, 2), and hold out documents; write what is kept of each part."""
        records = [self._records(part) for part in found.parts]
        hashes = [part["hash"] for part in records]
        first = np.arange(sum(map(len, records)))
        if self._choices.duplicates == "remove":
            repeats = find_repeats(hashes, memory=self._memory // 4)
            first[repeats.repeated] = repeats.first
        exact = first == np.arange(len(first))
        if self._choices.near is not None:
            first = np.where(exact, self._near(found, exact, self._choices.near), first)
        kept = first == np.arange(len(first))
        overlapping = kept & np.concatenate([np.empty(0, dtype=bool), *(_among(part, unwanted) for part in hashes)])
        kept &= ~overlapping
        tokens = np.concatenate([part["tokens"] for part in records]) if records else np.empty(0, dtype=np.uint64)
        all_hashes = np.concatenate(hashes) if hashes else np.empty((0, 2), dtype=np.uint64)
        choices = self._choices
        held = choose_held_out(all_hashes, kept & (tokens > 0), seed=choices.seed, share=choices.held_out)
        ends = np.cumsum([len(part) for part in records])[:-1]
        train = kept if held.tail else kept & ~held.documents
        flags = {"train": train, "held_out": kept if held.tail else held.documents}
        for split, mine in flags.items():
            for part, one in zip(found.parts, np.split(mine, ends), strict=True):
                with files.writing(self._scratch / SELECTION / split / f"{part.name}.npy") as stream:
                    np.save(stream, one)
        return Selection(flags, tokens.astype(np.int64), ends, held.tail, first, exact, int(overlapping.sum()))

    def _near(self, found: Found, there: npt.NDArray[np.bool_], least: float) -> npt.NDArray[np.int64]:
        """Return the first document that each is nearly the same as; ``InputError`` where the memory is too small."""
        needed = len(there) * near.PER_DOCUMENT
        if needed > self._memory // 2:
            raise InputError(
                f"near-duplicates among {len(there)} documents need about {needed / 1e6:.0f} MB and system.memory "
                f"leaves {self._memory / 2e6:.0f} MB for them. Allow {2 * needed / 1e9:.1f} GB, or leave "
                "prepare.near_duplicates out."
            )
        folder = self._scratch / PARTS
        signatures = [np.load(folder / part.name / SIGNATURES, mmap_mode="r") for part in found.parts]
        return near.find_near(signatures, there, least=least)

    def _records(self, part: Part) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = np.load(self._scratch / PARTS / part.name / DOCUMENTS)
        return found

    def lay_out(self, found: Found, selection: Selection) -> tuple[Layout, list[Split]]:
        """Say where each part's rows are in each split; ``DataError`` where there is too little text."""
        choices, piece = self._choices, self._frame.piece
        splits = []
        streams = {split: selection.streams(split) for split in SPLITS}
        windows = {split: (0, max(0, starts[-1] - 1)) for split, starts in streams.items()}
        if selection.tail:
            total = windows["train"][1]
            rows = -(-total // piece)
            cut = max(0, rows - tail_rows(rows, choices.held_out)) * piece
            windows = {"train": (0, cut), "held_out": (cut, total)}
        _check_enough(windows, choices.row_length)
        for number, split in enumerate(SPLITS):
            low, high = windows[split]
            buckets = max(1, -(-(high - low) // (piece * self._shard_rows)))
            layout = "contiguous" if selection.tail else choices.layout
            splits.append(
                Split(split, layout, tuple(streams[split]), windows[split], buckets, 2 * choices.seed + number)
            )
        names = tuple(part.name for part in found.parts)
        return Layout(self._scratch, names, id_type(self._tokenizer).str, self._frame), splits

    def write(self, layout: Layout, splits: Sequence[Split], folder: Path) -> tuple[list[Shard], dict[str, int]]:
        """Cut rows and write the shards; return them, and how many places of each split's rows are filled."""
        plain = layout.as_json()
        filled = dict.fromkeys(SPLITS, 0)
        for split in splits:
            for _, done in self._crew.each(
                cut_rows,
                range(len(layout.parts)),
                lambda n, s=split: {"layout": plain, "split": asdict(s), "part": n},  # type: ignore[misc]
            ):
                filled[split.name] += done["filled"]
        for part in layout.parts:
            # All their ids are in rows now: the disk has to hold them once more in the shards.
            files.remove(self._scratch / PARTS / part / IDS)
        shards = [
            Shard(**shard)
            for split in splits
            for _, shard in self._crew.each(
                write_shard,
                range(split.buckets),
                lambda n, s=split: {"layout": plain, "split": asdict(s), "bucket": n, "folder": str(folder)},  # type: ignore[misc]
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
            texts = documents(
                file,
                errors=choices.errors,
                broken_rows=choices.broken_rows,
                troubles=Troubles(),
                span=next(iter(parts_of(0, file, self._part_bytes))).span(),
            )
            for text in texts:
                sample.append(choices.cleaning.clean(text[: share + 1]))
                size += len(sample[-1])
                if size > share:
                    break
        return sample


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _among(hashes: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which hashes (n, 2) are among others (m, 2), (n,)."""
    found = np.isin(hashes[:, 0], wanted[:, 0])
    known = {tuple(one) for one in wanted.tolist()}
    for place in np.flatnonzero(found).tolist():
        found[place] = tuple(hashes[place].tolist()) in known
    return found


def _check_enough(windows: Mapping[str, tuple[int, int]], row_length: int) -> None:
    """Refuse a corpus without one full row to train on, or without a token to measure on."""
    train, held = (windows[split][1] - windows[split][0] for split in SPLITS)
    if train >= row_length - 2 and held > 0:
        return
    raise DataError(
        f"The sources give {train} tokens to train on and {held} to measure on; at least one row of {row_length - 2} "
        "and one token are needed. Add text, or make `prepare.row_length` or `prepare.held_out` smaller."
    )

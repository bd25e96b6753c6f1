"""Which documents become rows: repeats and what is not wanted out, some held out, sources mixed as asked for.

What is known of the documents lies on the disk and is gone through block by block, so that their number hardly matters
for the memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files
from bertwright.errors import InputError
from bertwright.text import arrays, near
from bertwright.text.duplicates import mark_repeats
from bertwright.text.encoded_parts import DOCUMENTS, SIGNATURES
from bertwright.text.held_out import Flags, HeldOut
from bertwright.text.mixing import Mix, Mixing
from bertwright.text.segments import PARTS, SELECTION
from bertwright.text.shards import SPLITS

_MOST_LISTED = 100_000
_LONGEST = 1 << 16  # longer documents are counted together


@dataclass(frozen=True)
class Block:
    """Some documents one behind the other: ``name`` of their folder, the number of their file and of its source."""

    name: str
    file: int
    source: int
    documents: int


@dataclass(frozen=True)
class Repeat:
    """A document that was left out, and the earlier one that it repeats; ``near``: not word for word."""

    document: int
    first: int
    near: bool


@dataclass(frozen=True)
class Wanted:
    """What is to be left out, held out and mixed.

    ``near`` is the least similarity of near-duplicates (None: they stay), ``unwanted`` holds hashes of texts, (m, 2).
    """

    duplicates: bool
    near: float | None
    unwanted: npt.NDArray[np.uint64]
    held_out: float
    mix: Mix
    seed: int


@dataclass
class Selection:
    """What was chosen.

    ``segments`` holds for each split what its stream is made of, (block, pass) each: of pass n only the documents that
    come more than n times. ``starts`` says where each begins in the stream ([SEP] stands behind each document), and
    where the last ends. ``tail``: there is one text alone, whose last rows are held out. ``tokens`` is of each split,
    ``trained`` of each source in train. ``lengths`` counts the documents of each number of tokens, the last entry all
    those of at least so many. ``repeats`` are the first hundred thousand that were left out.
    """

    tail: bool
    weights: tuple[float, ...]
    segments: dict[str, list[tuple[int, int]]]
    starts: dict[str, list[int]]
    tokens: dict[str, int]
    trained: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    longest: int = 0
    held_out: int = 0
    duplicates: int = 0
    near_duplicates: int = 0
    overlapping: int = 0
    repeats: list[Repeat] = field(default_factory=list)


@dataclass(frozen=True)
class _Documents:
    """The documents of one block; ``start`` came before them, ``first`` (n,) is the first of each one's kind."""

    block: Block
    start: int
    records: npt.NDArray[np.void]
    first: npt.NDArray[np.int64]

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        return self.records["hash"]

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        return self.records["tokens"].astype(np.int64)

    @property
    def place(self) -> slice:
        return slice(self.start, self.start + len(self.records))

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        return np.arange(self.start, self.start + len(self.records))


class Selector:
    """Chooses among the documents of some blocks; ``memory`` bytes are the stage's."""

    def __init__(self, scratch: Path, blocks: Sequence[Block], wanted: Wanted, *, memory: int) -> None:
        self._scratch, self._blocks, self._wanted, self._memory = scratch, blocks, wanted, memory
        self._starts = np.cumsum([0, *(block.documents for block in blocks)])
        self._held = HeldOut(seed=wanted.seed, share=wanted.held_out)
        self._unwanted = {tuple(one) for one in wanted.unwanted.tolist()}
        given = len(wanted.mix.shares or wanted.mix.weights)
        self._sources = max([given, *(block.source + 1 for block in blocks)])
        self._first = self._on_disk("first", np.int64)
        self._same = self._on_disk("same", np.bool_)

    def select(self) -> Selection:
        """Choose, and write for each block and split how often each document comes."""
        self._find_repeats()
        for some in self._each():
            self._held.see(some.hashes, self._kept(some) & (some.tokens > 0))
        mixing = self._mixing()
        none = dict.fromkeys(SPLITS, 0)
        chosen = Selection(
            tail=self._held.tail,
            weights=mixing.weights,
            segments={},
            starts={},
            tokens=none,
            trained=np.zeros(self._sources, dtype=np.int64),
            lengths=np.zeros(_LONGEST + 1, dtype=np.int64),
        )
        sizes: dict[str, dict[tuple[int, int], int]] = {split: {} for split in SPLITS}
        for number, some in enumerate(self._each()):
            kept = self._kept(some)
            held = self._held_out(some, kept)
            self._count(chosen, some, kept, held)
            for split, copies in self._copies(some, kept, held, mixing).items():
                with files.writing(self._scratch / SELECTION / split / f"{some.block.name}.npy") as stream:
                    np.save(stream, copies)
                tokens = int((some.tokens * copies).sum())
                chosen.tokens[split] += tokens
                if split == "train":
                    chosen.trained[some.block.source] += tokens
                for again in range(int(copies.max(initial=0))):
                    there = (copies > again) & (some.tokens > 0)
                    sizes[split][again, number] = int((some.tokens[there] + 1).sum())
        for split, found in sizes.items():
            filled = sorted(place for place, size in found.items() if size)
            chosen.segments[split] = [(block, again) for again, block in filled]
            chosen.starts[split] = [0, *itertools.accumulate(found[place] for place in filled)]
        return chosen

    def _find_repeats(self) -> None:
        """Find for each document the first that it repeats, or itself, and which ones repeat it word for word."""
        for some in self._each():
            some.first[:] = some.numbers
        if self._wanted.duplicates:
            hashes = lambda: (some.hashes for some in self._each())  # noqa: E731
            mark_repeats(hashes, self._first, memory=self._memory // 4)
        for some in self._each():
            self._same[some.place] = some.first != some.numbers
        if self._wanted.near is not None and len(self._first):
            self._check_near()
            # In one file: a corpus has more blocks than files may be open.
            path = self._scratch / SELECTION / SIGNATURES
            flat = arrays.mapped(path, len(self._first) * near.PLACES, np.uint32)
            signatures = flat.reshape(-1, near.PLACES)
            for some in self._each():
                signatures[some.place] = np.load(self._folder(some.block) / SIGNATURES)
            alike = near.find_near(signatures, ~self._same, least=self._wanted.near)
            np.copyto(self._first, alike, where=~self._same)

    def _check_near(self) -> None:
        needed = len(self._first) * near.PER_DOCUMENT
        if needed > self._memory // 2:
            raise InputError(
                f"near-duplicates among {len(self._first)} documents need about {needed / 1e6:.0f} MB and "
                f"system.memory leaves {self._memory / 2e6:.0f} MB for them. Allow {2 * needed / 1e9:.1f} GB, or leave "
                "prepare.near_duplicates out."
            )

    def _mixing(self) -> Mixing:
        """Find how often the documents to train on come."""
        mixing = Mixing(self._wanted.mix, self._sources, self._wanted.seed)
        if self._wanted.mix.plain or self._held.tail:
            mixing.weights = (1.0,) * self._sources
            return mixing
        for see, end in ((mixing.count, mixing.settle), (mixing.refine, mixing.finish)):
            for some in self._each():
                kept = self._kept(some)
                train = kept & ~self._held_out(some, kept)
                see(some.block.source, some.hashes[train], some.tokens[train])
            end()
        return mixing

    def _copies(self, some: _Documents, kept: Flags, held: Flags, mixing: Mixing) -> dict[str, npt.NDArray[np.uint8]]:
        """Return how often each document comes in each split."""
        copies = mixing.copies(some.block.source, some.hashes)
        return {"train": copies * (kept & ~held), "held_out": (kept if self._held.tail else held).astype(np.uint8)}

    def _count(self, chosen: Selection, some: _Documents, kept: Flags, held: Flags) -> None:
        same = self._same[some.place]
        repeated = some.first != some.numbers
        chosen.duplicates += int(same.sum())
        chosen.near_duplicates += int((repeated & ~same).sum())
        chosen.overlapping += int((~repeated & ~kept).sum())
        chosen.held_out += int(held.sum())
        chosen.lengths += np.bincount(np.minimum(some.tokens, _LONGEST), minlength=_LONGEST + 1)
        chosen.longest = max(chosen.longest, int(some.tokens.max(initial=0)))
        for place in np.flatnonzero(repeated)[: _MOST_LISTED - len(chosen.repeats)].tolist():
            chosen.repeats.append(Repeat(some.start + place, int(some.first[place]), not same[place]))

    def _kept(self, some: _Documents) -> Flags:
        """Return which documents are left when repeats and what is not wanted are out."""
        unwanted = np.isin(some.hashes[:, 0], self._wanted.unwanted[:, 0])
        for place in np.flatnonzero(unwanted).tolist():
            unwanted[place] = tuple(some.hashes[place].tolist()) in self._unwanted
        kept: Flags = (some.first == some.numbers) & ~unwanted
        return kept

    def _held_out(self, some: _Documents, kept: Flags) -> Flags:
        return self._held.flags(some.hashes, kept & (some.tokens > 0))

    def _each(self) -> Iterator[_Documents]:
        for block, start, end in zip(self._blocks, self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True):
            records = np.load(self._folder(block) / DOCUMENTS, mmap_mode="r" if block.documents else None)
            yield _Documents(block, start, records, self._first[start:end])

    def _folder(self, block: Block) -> Path:
        return self._scratch / PARTS / block.name

    def _on_disk(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of one number a document, mapped from a file of its own."""
        path = self._scratch / SELECTION / f"{name}.bin"
        return arrays.mapped(path, int(self._starts[-1]), dtype)

"""One part of the sources as ids on the disk: all that can be done to it alone, done once.

A part's folder holds ``part.json`` (counts) and its documents in blocks of a bounded size, each a folder: ``ids.bin``
(all documents' ids, one behind the other), ``documents.npy`` (a record for each) and, where near-duplicates are looked
for, ``signatures.npy``. It appears whole, by one rename, and that is the mark that it is done.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import xxhash

from bertwright import files
from bertwright.processes import Tell, silent
from bertwright.text import arrays, near
from bertwright.text.cleaning import Cleaning
from bertwright.text.documents import Troubles, ignore
from bertwright.text.engine import Disagreement, EncodedTexts, Engine
from bertwright.text.parts import Part
from bertwright.text.repeated_lines import RepeatedLines
from bertwright.text.shingles import Shingler, Shingles
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer

IDS, DOCUMENTS, SIGNATURES, COUNTS = "ids.bin", "documents.npy", "signatures.npy", "part.json"
RECORD = np.dtype([("tokens", "<u8"), ("bytes", "<u8"), ("hash", "<u8", 2)])
"""What is known of each document: its ids, the bytes of its normalised text in UTF-8, and that text's hash."""

# Characters that go to the tokenizer at once; a longer document goes in pieces of that size.
_BATCH = 1 << 21
# Bytes of text of a block; of a part that is larger (a row group, a file) they are several.
_BLOCK = 1 << 24
_LINES = 200  # repeated lines that a part tells of


@dataclass(frozen=True)
class PartJob:
    """All that another process needs to encode a part."""

    part: Part
    file: TextFile
    folder: Path
    tokenizer: Path
    fast: bool
    errors: str
    broken_rows: str
    cleaning: Cleaning
    room: int | None = None
    near: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        file = {**asdict(self.file), "path": str(self.file.path)}
        places = {"file": file, "folder": str(self.folder), "tokenizer": str(self.tokenizer)}
        return {**asdict(self), **places}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PartJob:
        """Return what ``as_json`` described."""
        file = TextFile(**{**content["file"], "path": Path(content["file"]["path"])})
        return cls(
            part=Part(**content["part"]),
            file=file,
            folder=Path(content["folder"]),
            tokenizer=Path(content["tokenizer"]),
            fast=content["fast"],
            errors=content["errors"],
            broken_rows=content["broken_rows"],
            cleaning=Cleaning(**content["cleaning"]),
            room=content["room"],
            near=content["near"],
        )


def encode_part(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Read, clean and encode a part, unless that was done already; return its counts.

    ``disagreement`` in the counts, where not empty, says for which text tokie gave wrong ids; then nothing is kept.
    """
    job = PartJob.from_json(argument)
    folder = job.folder / job.part.name
    if (folder / COUNTS).is_file():
        counts: dict[str, Any] = files.read_json(folder / COUNTS)
        return counts
    try:
        with files.writing_folder(folder) as partial:
            return _Writer(job, partial).write()
    except Disagreement as error:
        return {"disagreement": str(error), "bytes": 0}


@functools.lru_cache(maxsize=1)
def _loaded(folder: Path, fast: bool, _written: int) -> tuple[Tokenizer, Engine]:
    """Return a tokenizer and its engine; the parts of one corpus share them, with what was learnt of characters."""
    tokenizer = Tokenizer.load(folder)
    return tokenizer, Engine(tokenizer, allow_fast=fast)


class _Writer:
    """Writes one part's blocks as its documents come."""

    def __init__(self, job: PartJob, folder: Path) -> None:
        self._job, self._folder = job, folder
        written = (job.tokenizer / "tokenizer.json").stat().st_mtime_ns
        self._tokenizer, self._engine = _loaded(job.tokenizer, job.fast, written)
        self._engine.begin()
        self._dtype = id_type(self._tokenizer)
        self._shingler = Shingler(self._tokenizer, near.WORDS) if job.near else None
        self._troubles, self._lines = Troubles(), RepeatedLines()
        self._blocks: list[dict[str, int]] = []
        self._words = self._unknown = 0

    def write(self) -> dict[str, Any]:
        """Write the part and return its counts."""
        texts = cleaned(self._job, self._troubles, self._lines.add)
        while self._block(texts, self._folder / f"{len(self._blocks):05d}"):
            pass
        counts = {
            "disagreement": "",
            "blocks": self._blocks,
            "documents": sum(block["documents"] for block in self._blocks),
            "tokens": sum(block["tokens"] for block in self._blocks),
            "bytes": sum(block["bytes"] for block in self._blocks),
            "words": self._words,
            "unknown": self._unknown,
            "troubles": dict(self._troubles.counts),
            "broken": [[row.row, row.reason] for row in self._troubles.rows],
            "lines": self._lines.top(_LINES),
            "compared": self._engine.compared,
            "by_tokenizers": self._engine.by_tokenizers,
        }
        files.write_json(self._folder / COUNTS, counts)
        return counts

    def _block(self, texts: Iterator[list[str]], folder: Path) -> bool:
        """Write documents until a block is full; return whether there may be more."""
        files.make_folder(folder)
        records, signatures = [np.empty(0, dtype=RECORD)], [np.empty((0, near.PLACES), dtype=np.uint32)]
        size, more = 0, False
        with files.filling(folder / IDS) as stream:
            for batch in texts:
                records.append(self._add(batch, stream, signatures))
                size += int(records[-1]["bytes"].sum())
                if size >= _BLOCK:
                    more = True
                    break
        found = np.concatenate(records)
        if not len(found) and self._blocks:
            files.remove(folder)  # the last one came out even
            return False
        arrays.fill(folder / DOCUMENTS, found)
        if self._shingler is not None:
            arrays.fill(folder / SIGNATURES, np.concatenate(signatures))
        tokens, size = int(found["tokens"].sum()), int(found["bytes"].sum())
        self._blocks.append({"documents": len(found), "tokens": tokens, "bytes": size})
        return more

    def _add(self, texts: list[str], stream: IO[bytes], signatures: list[near.Signatures]) -> npt.NDArray[np.void]:
        """Encode some documents, write their ids, return their records; of a long one the first piece is signed."""
        records = np.zeros(len(texts), dtype=RECORD)
        contents = [text.encode() for text in texts]
        records["bytes"] = [len(content) for content in contents]
        records["hash"] = hash_of(contents)
        spaces = np.frombuffer(b"".join(contents), dtype=np.uint8) == ord(" ")
        self._words += int(np.count_nonzero(spaces)) + len(texts)
        del contents, spaces
        signed = -1
        for owners, found in encoded_groups(texts, self._engine):
            if self._shingler is not None:
                begins = np.diff([signed, *owners]) > 0
                shingles = self._shingler.of(found.ids, found.lengths)
                own = np.repeat(begins, shingles.counts)
                signatures.append(near.signatures_of(Shingles(shingles.hashes[own], shingles.counts[begins])))
                signed = owners[-1]
            np.add.at(records["tokens"], owners, found.lengths.astype(np.uint64))
            self._unknown += int(np.count_nonzero(found.ids == self._tokenizer.unk_id))
            stream.write(found.ids.astype(self._dtype).tobytes())
        return records


def cleaned(job: PartJob, troubles: Troubles, seen: Callable[[str], None] = ignore) -> Iterator[list[str]]:
    """Give a part's documents as the recipe wants them, in batches; what is left out is counted.

    ``seen`` is shown each one as it stands in its file.
    """
    return _batches(
        job.cleaning.documents(
            job.file,
            errors=job.errors,
            broken_rows=job.broken_rows,
            troubles=troubles,
            room=job.room,
            span=job.part.span(),
            seen=seen,
        )
    )


def encoded_groups(texts: list[str], engine: Engine) -> Iterator[tuple[list[int], EncodedTexts]]:
    """Encode texts, long ones in pieces; give groups of pieces with the number of each one's text."""
    for owners, pieces in _groups(texts):
        yield owners, engine.encode(pieces)


def hash_of(contents: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """Return the 128-bit hash of each text, (n, 2)."""
    digests = b"".join(xxhash.xxh3_128_digest(content) for content in contents)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


def id_type(tokenizer: Tokenizer) -> np.dtype[Any]:
    """Return the number type of a tokenizer's ids on the disk."""
    return np.dtype("<u2" if tokenizer.vocabulary <= 1 << 16 else "<u4")


def pieces_of(text: str, size: int) -> list[str]:
    """Cut a long text before spaces, so that the tokenizer's time and memory stay in proportion to it.

    The space stays with the word behind it, as byte-level tokenizers need; a text without spaces is not cut.
    """
    cuts = [0]
    while len(text) - cuts[-1] > size:
        cut = text.find(" ", cuts[-1] + size)
        if cut < 0:
            break
        cuts.append(cut)
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Give texts in lists of about a batch's characters."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _groups(texts: list[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Give the texts' pieces, each with its text's number, in groups of about a batch's characters."""
    owners: list[int] = []
    group: list[str] = []
    size = 0
    for number, text in enumerate(texts):
        for piece in pieces_of(text, _BATCH):
            owners.append(number)
            group.append(piece)
            size += len(piece)
            if size >= _BATCH:
                yield owners, group
                owners, group, size = [], [], 0
    if group:
        yield owners, group

"""The whole of it: files of text to a folder of shards with a manifest, a summary, and lists of what was left out."""

from __future__ import annotations

import bisect
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files
from bertwright.text.corpus import Choices, Corpus, Found, unheard
from bertwright.text.executors import Crew, Here
from bertwright.text.parts import PART_BYTES
from bertwright.text.repeated_lines import together
from bertwright.text.selection import Selection
from bertwright.text.shards import MANIFEST, SHARD_BYTES, SPLITS, manifest, write_manifest
from bertwright.text.sources import TextFile

TROUBLES, DUPLICATES = "troubles.jsonl", "duplicates.jsonl"
_LINES = 20
_SHARES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


@dataclass(frozen=True)
class Summary:
    """What became of a corpus.

    ``bytes`` (UTF-8), ``words`` (runs without a space), ``tokens`` and ``unknown`` ([UNK] among them) are of normalised
    text: [CLS], [SEP] and padding are in none of them. ``documents``, ``bytes``, ``words`` and ``unknown`` are of all
    that was read; ``duplicates``, ``near_duplicates`` and ``overlapping`` (with a task) of those were left out;
    ``tokens`` and ``rows`` are of train alone, each as often as its source's weight says. ``without_tokens`` are
    documents that the tokenizer cleans away wholly. ``full`` is the share of the rows' places that are not padding.
    ``document_tokens`` holds the numbers of tokens that the given shares of the documents have at most.
    ``repeated_lines`` are the lines that came most often in the files, with how often (at least). ``troubles`` counts,
    by reason, what was left out, empty or replaced. ``engine`` says which library encoded and why, how many texts both
    did, and how many went to the slower one.
    """

    bytes: int
    documents: int
    duplicates: int
    near_duplicates: int
    overlapping: int
    held_out_documents: int
    without_tokens: int
    rows: int
    held_out_rows: int
    tokens: int
    held_out_tokens: int
    words: int
    unknown: int
    tokens_per_word: float
    row_length: int
    full: float
    mean_document_tokens: float
    longest_document_tokens: int
    document_tokens: dict[str, int]
    sources: list[dict[str, Any]]
    repeated_lines: list[dict[str, Any]]
    troubles: dict[str, int]
    engine: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return asdict(self)


def prepare_rows(
    text_files: Sequence[TextFile],
    tokenizer: Path,
    folder: Path,
    choices: Choices,
    *,
    scratch: Path,
    crew: Crew | None = None,
    memory: int = 1 << 30,
    shard_bytes: int = SHARD_BYTES,
    part_bytes: int = PART_BYTES,
    leave_out: Path | None = None,
    progress: Callable[[int, int], None] = unheard,
) -> Summary:
    """Encode files into rows of ``row_length`` ids and write them with a manifest; the same input gives the same bytes.

    About ``held_out`` of the documents (by ``seed``), and at least one, are kept back; of a single document its last
    rows. ``crew`` does the pieces of work (none: this process does). ``progress`` is told how many bytes of the files,
    as they lie on the disk, are read, and how many bytes of text they gave. ``leave_out`` is a folder that
    ``bertwright.stages.overlap`` wrote: its documents are left out. What is in ``scratch`` from an interrupted
    try with the same arguments is taken up. Files are read in parts of about ``part_bytes``; shards have about
    ``shard_bytes`` bytes. ``DataError`` where a file cannot be read or the text is too little for a full row.
    """
    # What an earlier try left: with fewer shards this time its last ones would stay.
    for path in [*folder.glob("*.bin"), *(folder / name for name in (MANIFEST, TROUBLES, DUPLICATES))]:
        files.remove(path)
    corpus = Corpus(
        text_files,
        tokenizer,
        choices,
        scratch=scratch,
        crew=crew or Crew(Here()),
        memory=memory,
        shard_bytes=shard_bytes,
        part_bytes=part_bytes,
        progress=progress,
    )
    found = corpus.encode()
    selection = corpus.select(found, _hashes(leave_out))
    layout, splits = corpus.lay_out(found, selection)
    shards, filled = corpus.write(layout, splits, folder)
    _list(folder / TROUBLES, _broken_rows(text_files, found))
    _list(folder / DUPLICATES, _duplicates(text_files, found, selection))
    write_manifest(folder, manifest(corpus.tokenizer, choices.row_length, layout.dtype, shards))
    windows = {split.name: split.window for split in splits}
    rows = {split: sum(shard.rows for shard in shards if shard.split == split) for split in SPLITS}
    return _summary(text_files, found, selection, choices, rows, filled, windows)


def _hashes(folder: Path | None) -> npt.NDArray[np.uint64]:
    """Return the hashes of the documents to leave out, (n, 2)."""
    if folder is None:
        return np.empty((0, 2), dtype=np.uint64)
    found: npt.NDArray[np.uint64] = np.load(folder / "documents.npy")
    return found


def _list(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as lines of JSON where there are any."""
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    if lines:
        files.write_bytes(path, b"".join(lines))


def _broken_rows(text_files: Sequence[TextFile], found: Found) -> Iterable[dict[str, Any]]:
    for part, counts in zip(found.parts, found.counts, strict=True):
        for row, reason in counts["broken"]:
            yield {"path": str(text_files[part.file].path), "row": row, "reason": reason}


def _duplicates(text_files: Sequence[TextFile], found: Found, selection: Selection) -> Iterable[dict[str, Any]]:
    """Give the first of the documents that were left out as repeats, with the document that each repeats."""
    # The number of a document in its own file, from 1: what stands before its block in the file counts too.
    starts = [0, *itertools.accumulate(block.documents for block in found.blocks)]
    in_file: list[int] = []
    before: Counter[int] = Counter()
    for block in found.blocks:
        in_file.append(before[block.file])
        before[block.file] += block.documents

    def place(document: int) -> dict[str, Any]:
        number = bisect.bisect_right(starts, document) - 1
        own = in_file[number] + document - starts[number] + 1
        return {"path": str(text_files[found.blocks[number].file].path), "document": own}

    for one in selection.repeats:
        yield {**place(one.document), "repeats": place(one.first), "kind": "near" if one.near else "same"}


def _summary(
    text_files: Sequence[TextFile],
    found: Found,
    selection: Selection,
    choices: Choices,
    rows: dict[str, int],
    filled: dict[str, int],
    windows: dict[str, tuple[int, int]],
) -> Summary:
    def total(name: str) -> int:
        return sum(counts[name] for counts in found.counts)

    tokens = selection.tokens
    if selection.tail:
        tokens = {split: high - low for split, (low, high) in windows.items()}
    troubles: Counter[str] = Counter()
    for counts in found.counts:
        troubles.update(counts["troubles"])
    lines = together([[(line, times) for line, times in counts["lines"]] for counts in found.counts], _LINES)
    return Summary(
        bytes=total("bytes"),
        documents=total("documents"),
        duplicates=selection.duplicates,
        near_duplicates=selection.near_duplicates,
        overlapping=selection.overlapping,
        held_out_documents=selection.held_out,
        without_tokens=int(selection.lengths[0]),
        rows=rows["train"],
        held_out_rows=rows["held_out"],
        tokens=tokens["train"],
        held_out_tokens=tokens["held_out"],
        words=total("words"),
        unknown=total("unknown"),
        tokens_per_word=total("tokens") / max(1, total("words")),
        row_length=choices.row_length,
        full=sum(filled.values()) / max(1, sum(rows.values()) * choices.row_length),
        mean_document_tokens=total("tokens") / max(1, total("documents")),
        longest_document_tokens=selection.longest,
        document_tokens=_quantiles(selection),
        sources=_sources(text_files, found, selection, tokens["train"]),
        repeated_lines=[{"line": line, "times": times} for line, times in lines],
        troubles=dict(troubles),
        engine=dict(found.engine),
    )


def _quantiles(selection: Selection) -> dict[str, int]:
    """Return how many tokens the documents have, by the share of them that have at most so many."""
    up_to = np.cumsum(selection.lengths)
    counts = {share: int(np.searchsorted(up_to, share * up_to[-1])) for share in _SHARES}
    # The last number of tokens that is counted stands for all beyond it.
    return {f"{share:.0%}": n if n < len(up_to) - 1 else selection.longest for share, n in counts.items()}


def _sources(text_files: Sequence[TextFile], found: Found, selection: Selection, tokens: int) -> list[dict[str, Any]]:
    """Return what each source gave, and its share of the tokens to train on."""
    table: list[dict[str, Any]] = []
    for number, weight in enumerate(selection.weights):
        paths = [str(file.path) for file in text_files if file.source == number]
        mine = [
            counts
            for part, counts in zip(found.parts, found.counts, strict=True)
            if text_files[part.file].source == number
        ]
        table.append(
            {
                "path": paths[0] if len(paths) == 1 else os.path.commonpath(paths) if paths else "",
                "files": len(paths),
                **{name: sum(counts[name] for counts in mine) for name in ("documents", "bytes", "tokens")},
                "weight": weight,
                "share": int(selection.trained[number]) / max(1, tokens),
            }
        )
    return table

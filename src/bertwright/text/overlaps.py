"""Texts of tasks that stand in the corpus: runs of 13 words that both have (Brown et al. 2020, appendix C)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files
from bertwright.processes import Tell, silent
from bertwright.text import arrays
from bertwright.text.documents import Troubles
from bertwright.text.encoded_parts import PartJob, cleaned, encoded_groups, hash_of
from bertwright.text.engine import Engine, exactly
from bertwright.text.executors import Crew
from bertwright.text.parts import PART_BYTES, Part
from bertwright.text.shingles import Hashes, Shingler
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer

WORDS = 13
DOCUMENTS, RUNS, DONE = "documents.npy", "runs.npy", "part.json"
RECORD = np.dtype([("number", "<u8"), ("runs", "<u8"), ("hash", "<u8", 2)])
"""A document that shares runs with a task: its number in the part, how many runs, its text's hash."""


@dataclass(frozen=True)
class TaskTexts:
    """The rows of one set of a task: each row's id and its texts."""

    task: str
    set: str
    rows: Sequence[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class SetRuns:
    """The runs of one set's rows: all of them, (S,), and the row of each, (S,)."""

    texts: TaskTexts
    runs: Hashes
    rows: npt.NDArray[np.int64]

    def found(self, runs: Hashes) -> npt.NDArray[np.int64]:
        """Return how many of each row's runs are among ``runs``, (rows,)."""
        hit = np.isin(self.runs, runs)
        return np.bincount(self.rows[hit], minlength=len(self.texts.rows))

    @property
    def checked(self) -> int:
        """How many rows are long enough to be looked for."""
        return len(np.unique(self.rows))


@dataclass(frozen=True)
class Overlaps:
    """What was found: documents with runs of tasks (part, record), runs that occur, and how much was read."""

    documents: tuple[tuple[Part, npt.NDArray[np.void]], ...]
    counts: tuple[int, ...]
    runs: Hashes
    bytes: int


def runs_of(texts: TaskTexts, tokenizer: Tokenizer) -> SetRuns:
    """Return the runs of 13 words of a set's texts."""
    flat = [(number, text) for number, (_, row) in enumerate(texts.rows) for text in row]
    encoded = exactly(tokenizer, lambda engine: engine.encode([text for _, text in flat]))
    shingles = Shingler(tokenizer, WORDS).of(encoded.ids, encoded.lengths)
    return SetRuns(texts, shingles.hashes, np.repeat([number for number, _ in flat], shingles.counts))


def find_overlaps(
    text_files: Sequence[TextFile],
    wanted: Hashes,
    job: Callable[[Part], PartJob],
    *,
    scratch: Path,
    crew: Crew,
    part_bytes: int = PART_BYTES,
    progress: Callable[[int, int], None],
) -> Overlaps:
    """Look for runs in all documents of some files; what is in ``scratch`` from an interrupted try is taken up."""
    index = scratch / "wanted.npy"
    with files.writing(index) as stream:
        np.save(stream, np.unique(wanted))
    sizes = np.cumsum([0, *(file.path.stat().st_size for file in text_files)]).tolist()
    found, counts, runs, text = [], [], [np.empty(0, dtype=np.uint64)], 0

    def argument(part: Part) -> dict[str, Any]:
        return {"job": job(part).as_json(), "wanted": str(index)}

    for part, done in crew.each_part(search_part, text_files, part_bytes, scratch / "pieces", argument):
        folder = job(part).folder / part.name
        found.append((part, np.load(folder / DOCUMENTS)))
        runs.append(np.load(folder / RUNS))
        counts.append(done["documents"])
        text += done["bytes"]
        progress(sizes[part.file] + part.reached, text)
    return Overlaps(tuple(found), tuple(counts), np.unique(np.concatenate(runs)), text)


def search_part(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Look for runs in one part's documents, unless that was done already; return its counts."""
    job, wanted = PartJob.from_json(argument["job"]), np.load(argument["wanted"])
    folder = job.folder / job.part.name
    if not (folder / DONE).is_file():
        with files.writing_folder(folder) as partial:
            exactly(Tokenizer.load(job.tokenizer), lambda engine: _search(job, wanted, partial, engine))
    done: dict[str, Any] = files.read_json(folder / DONE)
    return done


def _search(job: PartJob, wanted: Hashes, folder: Path, engine: Engine) -> None:
    shingler = Shingler(engine.tokenizer, WORDS)
    # Most runs are nowhere in the tasks: one bit of a table says so for nearly all of them.
    table = np.zeros(1 << 22, dtype=bool)
    table[_place(wanted)] = True
    number = size = 0
    records, runs = [np.empty(0, dtype=RECORD)], [np.empty(0, dtype=np.uint64)]
    for texts in cleaned(job, Troubles()):
        counts = np.zeros(len(texts), dtype=np.int64)
        for owners, found in encoded_groups(texts, engine):
            shingles = shingler.of(found.ids, found.lengths)
            likely = np.flatnonzero(table[_place(shingles.hashes)])
            hits = likely[np.isin(shingles.hashes[likely], wanted)]
            np.add.at(counts, np.repeat(owners, shingles.counts)[hits], 1)
            runs.append(np.unique(shingles.hashes[hits]))
        hit = np.flatnonzero(counts)
        of_batch = np.zeros(len(hit), dtype=RECORD)
        of_batch["number"], of_batch["runs"] = number + hit, counts[hit]
        of_batch["hash"] = hash_of([texts[place].encode() for place in hit.tolist()])
        records.append(of_batch)
        number += len(texts)
        size += sum(len(text.encode()) for text in texts)
    arrays.fill(folder / DOCUMENTS, np.concatenate(records))
    arrays.fill(folder / RUNS, np.unique(np.concatenate(runs)))
    files.write_json(folder / DONE, {"documents": number, "bytes": size})


def _place(hashes: Hashes) -> npt.NDArray[np.int64]:
    return (hashes >> np.uint64(42)).astype(np.int64)

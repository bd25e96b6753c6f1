"""Which rows of the recipe's own tasks stand in the corpus, and in which documents.

Sealed: ``rows.jsonl`` and ``documents.jsonl`` (what was found, one a line), and ``documents.npy``, the hashes of those
documents' texts, by which they can be left out.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bertwright import files
from bertwright.processes import Processes
from bertwright.stages.prepare import MEMORY, Progress, cleaning_of, files_of, processes_for
from bertwright.stages.work import Work
from bertwright.tasks.readers import read_rows, read_set
from bertwright.tasks.task import Task
from bertwright.text.encoded_parts import PartJob
from bertwright.text.executors import Crew, Here
from bertwright.text.memory import room_for
from bertwright.text.overlaps import Overlaps, SetRuns, TaskTexts, find_overlaps, runs_of
from bertwright.text.parts import Part
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer

HASHES = "documents.npy"
_MOST_LISTED = 100_000


def overlap(work: Work) -> dict[str, Any]:
    """Look for the tasks' rows in the corpus."""
    text_files = files_of(work.options, work.paths, work.inputs)
    tokenizer = Tokenizer.load(work.inputs["tokenizer"])
    sets = [runs_of(texts, tokenizer) for texts in _sets(work)]
    progress = Progress(work, text_files)
    memory = work.machine.memory or MEMORY
    at_once = processes_for(text_files, work.machine.threads, memory)

    def job(part: Part) -> PartJob:
        return PartJob(
            part=part,
            file=text_files[part.file],
            folder=work.scratch / "parts",
            tokenizer=work.inputs["tokenizer"],
            fast=True,
            errors=work.options["errors"],
            broken_rows=work.options["broken_rows"],
            cleaning=cleaning_of(work.options),
            room=room_for(memory, at_once),
        )

    with contextlib.ExitStack() as stack:
        crew = Crew(stack.enter_context(Processes(at_once)), at_once) if at_once > 1 else Crew(Here())
        wanted = np.concatenate([one.runs for one in sets])
        found = Overlaps((), (), wanted, 0)
        if len(wanted):
            found = find_overlaps(text_files, wanted, job, scratch=work.scratch, crew=crew, progress=progress.encoded)
    rows = [(one, one.found(found.runs)) for one in sets]
    _list(work.folder / "rows.jsonl", _found_rows(rows))
    _list(work.folder / "documents.jsonl", _found_documents(text_files, found))
    hashes = [np.empty((0, 2), dtype=np.uint64), *(records["hash"] for _, records in found.documents)]
    with files.writing(work.folder / HASHES) as stream:
        np.save(stream, np.unique(np.concatenate(hashes), axis=0))
    return {
        "sets": [
            {
                "task": one.texts.task,
                "set": one.texts.set,
                "rows": len(one.texts.rows),
                "checked": one.checked,
                "found": int(np.count_nonzero(counts)),
            }
            for one, counts in rows
        ],
        "documents": sum(found.counts),
        "documents_found": sum(len(records) for _, records in found.documents),
        "bytes": found.bytes,
    }


def _sets(work: Work) -> Iterator[TaskTexts]:
    for options in work.options["tasks"]:
        prefix = f"task {options['name']} "
        paths = {label.removeprefix(prefix): path for label, path in work.paths.items() if label.startswith(prefix)}
        task = Task.from_options(options, paths["train"], {})
        for name, path in paths.items():
            rows = read_rows(task, path) if name == "train" else read_set(task, name, path)
            yield TaskTexts(task.name, name, list(zip(rows.ids, rows.texts, strict=True)))


def _found_rows(rows: Iterable[tuple[SetRuns, np.ndarray[Any, Any]]]) -> Iterator[dict[str, Any]]:
    for one, counts in rows:
        for number in np.flatnonzero(counts).tolist():
            row = one.texts.rows[number][0]
            yield {"task": one.texts.task, "set": one.texts.set, "row": row, "runs": int(counts[number])}


def _found_documents(text_files: list[TextFile], found: Overlaps) -> Iterator[dict[str, Any]]:
    before: Counter[int] = Counter()
    for (part, records), count in zip(found.documents, found.counts, strict=True):
        for record in records:
            document = before[part.file] + int(record["number"]) + 1
            yield {"path": str(text_files[part.file].path), "document": document, "runs": int(record["runs"])}
        before[part.file] += count


def _list(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    with files.writing(path) as stream:
        for number, row in enumerate(rows):
            if number < _MOST_LISTED:
                stream.write(json.dumps(row).encode() + b"\n")

"""Raw text to a tokenizer and to rows of tokens. Nothing here imports torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.errors import InputError
from bertwright.processes import Processes, Tell, silent
from bertwright.stages.work import Work
from bertwright.text.cleaning import Cleaning
from bertwright.text.corpus import Choices
from bertwright.text.documents import Troubles
from bertwright.text.executors import Crew
from bertwright.text.extending import extend
from bertwright.text.memory import PROCESS, room_for
from bertwright.text.mixing import Mix
from bertwright.text.prepare import prepare_rows
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer, count_strings, train_on

# Memory where the recipe sets no limit; bytes of files that one process does sooner alone.
MEMORY, _WORTH_PROCESSES = 4_000_000_000, 8_000_000
# What a tokenizer's folder says is the longest input; an encoder folder states its own.
_MAX_LENGTH = 512


def tokenizer(work: Work) -> dict[str, Any]:
    """Train a tokenizer on the sources. Sealed: an ordinary tokenizer folder."""
    # In a process of its own: what it takes for all those strings would stay with this one.
    with Processes(1, threads=work.machine.threads) as process:
        return process.submit(train, work.as_json(), work.tell).result()


def train(argument: Mapping[str, Any], tell: Tell = silent) -> dict[str, Any]:
    """Train a tokenizer as a stage's job says."""
    work = Work.from_json(argument, tell)
    options = work.options
    text_files = files_of(options, work.paths, work.inputs)
    progress, cleaning = Progress(work, text_files), cleaning_of(options)
    room = room_for(work.machine.memory or MEMORY, 1)
    count = 0

    def texts() -> Iterator[str]:
        nonlocal count
        for file in text_files:
            found = cleaning.documents(
                file,
                errors=options["errors"],
                broken_rows=options["broken_rows"],
                troubles=Troubles(),
                room=room,
                progress=progress.of_file(file),
            )
            for text in found:
                count += 1
                yield text

    own: dict[str, Any] = {}
    if "extend" in options:
        given = Tokenizer.load(work.inputs["tokenizer"])
        trained, counted = extend(given, texts(), options["extend"])
        own["added"] = trained.pieces()[given.vocabulary :]
    else:
        how = {"kind": options["kind"], "lowercase": options["lowercase"]}
        counted = count_strings(texts(), **how)
        trained = train_on(counted, vocabulary=options["vocabulary"], **how)
    trained.save(work.folder, max_length=_MAX_LENGTH)
    return {
        "kind": options.get("kind", "extended"),
        **own,
        "vocabulary": trained.vocabulary,
        "bytes": progress.bytes,
        "documents": count,
        "strings": len(counted.counts),
        "left_out": counted.left_out,
    }


def prepare(work: Work) -> dict[str, Any]:
    """Encode the sources into rows. Sealed: shards with their manifest, and the tokenizer's folder beside them."""
    options = work.options
    text_files = files_of(options, work.paths, work.inputs)
    choices = Choices(
        row_length=options["row_length"],
        held_out=options["held_out"],
        seed=options["seed"],
        errors=options["errors"],
        broken_rows=options["broken_rows"],
        layout=options["rows"],
        duplicates=options["duplicates"],
        near=options["near_duplicates"],
        cleaning=cleaning_of(options),
        mix=Mix(tuple(options["mix"]["weights"]), tuple(options["mix"]["shares"])),
    )
    memory = work.machine.memory or MEMORY
    with contextlib.ExitStack() as stack:
        at_once = processes_for(text_files, work.machine.threads, memory)
        summary = prepare_rows(
            text_files,
            work.inputs["tokenizer"],
            work.folder,
            choices,
            scratch=work.scratch,
            crew=Crew(stack.enter_context(Processes(at_once)), at_once) if at_once > 1 else None,
            memory=memory,
            leave_out=work.inputs.get("overlap"),
            progress=Progress(work, text_files).encoded,
        )
    copy_tokenizer(work.inputs["tokenizer"], work.folder / "tokenizer")
    return summary.as_dict()


def cleaning_of(options: Mapping[str, Any]) -> Cleaning:
    """Return what the recipe wants done to a document's text."""
    return Cleaning(
        nfc=options["nfc"],
        control=options["control_characters"] == "remove",
        shortest=options["shortest"],
        longest=options["longest"],
    )


def processes_for(text_files: Iterable[TextFile], threads: int, memory: int) -> int:
    """Return how many processes are worth their start and fit into the memory; ``InputError`` where none does."""
    room = memory // PROCESS - 1
    if room < 1:
        raise InputError(
            f"system.memory allows {memory / 1e6:.0f} MB and preparing text needs {2 * PROCESS / 1e6:.0f} MB; allow so "
            "much, or leave it out"
        )
    if sum(file.path.stat().st_size for file in text_files) < _WORTH_PROCESSES:
        return 1
    return max(1, min(threads, room))


def files_of(options: Mapping[str, Any], paths: Mapping[str, Path], inputs: Mapping[str, Path]) -> list[TextFile]:
    """Return a stage's sources with their formats, source by source; what was fetched from the hub lies in inputs."""
    labels = sorted(label for label in paths if label.startswith("source "))
    found = [
        TextFile(paths[label], format_, compression, column, boundary, source)
        for label, (format_, compression, column, boundary, source) in zip(labels, options["sources"], strict=True)
    ]
    for role, folder in sorted(inputs.items()):
        if role.startswith("hub "):
            number = int(role.removeprefix("hub "))
            found += [
                TextFile(path, "parquet", None, "text", "row", number) for path in sorted(folder.glob("*.parquet"))
            ]
    return sorted(found, key=lambda file: file.source)


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a tokenizer's files, so that a folder can be handed on alone."""
    files.make_folder(target)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            files.copy(source / name, target / name)


class Progress:
    """Tells the share of the sources' bytes, as they lie on the disk, that has been read."""

    def __init__(self, work: Work, text_files: Iterable[TextFile]) -> None:
        self._tell = work.tell
        self._total = max(1, sum(file.path.stat().st_size for file in text_files))
        self._before = 0
        self.bytes = 0
        self._begun = time.monotonic()

    def of_file(self, file: TextFile) -> Callable[[int], None]:
        """Return what is to be told how far a file is read; the files are read one behind the other."""
        before, self._before = self._before, self._before + file.path.stat().st_size
        return lambda count: self.bytes_done(before + count)

    def bytes_done(self, count: int) -> None:
        """Note how many bytes are read in all."""
        self.bytes = count
        self._tell({"share": min(1.0, count / self._total), "bytes": count})

    def encoded(self, read: int, text: int) -> None:
        """Note how many bytes of the files are read and how many bytes of text are encoded."""
        share, seconds = min(1.0, read / self._total), time.monotonic() - self._begun
        left = seconds * (1 - share) / share if share else None
        self._tell({"share": share, "bytes_per_second": text / max(seconds, 1e-9), "seconds_left": left})

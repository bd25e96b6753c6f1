"""A measured megabyte of text and the rows of a task, before any work: what a forecast of both is made of."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertwright.errors import DataError
from bertwright.tasks.batches import windows_of
from bertwright.tasks.readers import read_rows, read_set
from bertwright.tasks.task import Task
from bertwright.text.cleaning import Cleaning
from bertwright.text.documents import Troubles
from bertwright.text.engine import Engine
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

_READ_BYTES = 4_000_000  # text to read, for the speed of reading and the ratio of packing
_ENCODE_BYTES = 1_000_000  # text to encode
# Pieces for the trial tokenizer: any small corpus supports them, and the speed hardly hangs on their number.
_TRIAL_VOCABULARY = 500
# Pieces that a larger vocabulary saves, against the trial tokenizer; English Wikipedia at 16,000 pieces.
_FEWER_PIECES = 0.6


@dataclass(frozen=True)
class TextSpeed:
    """What a sample of the sources told: bytes a second of a pass, and how much there is in all."""

    bytes: int
    """Text in all, estimated from the ratio of packing."""
    reading: float
    counting: float
    encoding: float
    tokens: int
    """Tokens in all, estimated."""


@dataclass(frozen=True)
class Sizes:
    """How many rows a file has, and how many tokens a batch of them is wide, on average and at most."""

    rows: int
    length: int
    longest: int


def measure_text(
    files: Sequence[TextFile],
    cleaning: Cleaning,
    *,
    errors: str,
    broken_rows: str,
    room: int,
    tokenizer: Tokenizer | None,
) -> TextSpeed:
    """Read and encode a few megabytes from the start of the sources; ``DataError`` as a real pass would raise it."""
    begun = time.perf_counter()
    texts, read, packed = _beginning(files, cleaning, errors=errors, broken_rows=broken_rows, room=room)
    if not texts:
        raise DataError(
            f"the sources hold no text at all (read {len(files)} files, such as {files[0].path}); name others"
        )
    seconds = max(time.perf_counter() - begun, 1e-6)
    sample = _some(texts, _ENCODE_BYTES)
    size = sum(len(text.encode()) for text in sample)
    begun = time.perf_counter()
    trial = tokenizer
    if trial is None:
        try:
            trial = train_tokenizer(iter(sample), kind="wordpiece", vocabulary=_TRIAL_VOCABULARY, lowercase=True)
        except DataError:
            trial = None  # a corpus this small takes no time worth measuring
    counting = max(time.perf_counter() - begun, 1e-6)
    begun = time.perf_counter()
    tokens = len(Engine(trial).encode(sample).ids) if trial is not None else size // 3
    encoding = max(time.perf_counter() - begun, 1e-6)
    total = int(sum(file.path.stat().st_size for file in files) * read / max(packed, 1))
    share = 1.0 if tokenizer is not None else _FEWER_PIECES
    return TextSpeed(total, read / seconds, size / counting, size / encoding, int(tokens / size * total * share))


def sizes_of(
    options: Mapping[str, Any], path: Path, tokenizer: Tokenizer | None, max_length: int, *, name: str | None = None
) -> Sizes:
    """Count the rows of a training file, or of the set called ``name``, and measure their length.

    Without a tokenizer yet, a token is taken to be four characters.
    """
    task = Task.from_options(options, path, {})
    rows = read_rows(task, path) if name is None else read_set(task, name, path)
    sample = rows.texts[:: max(1, len(rows) // 500)]
    if tokenizer is not None:
        lengths = [sum(len(ids) for ids in tokenizer.encode(list(texts))) + len(texts) + 1 for texts in sample]
    else:
        lengths = [sum(len(text) for text in texts) // 4 + len(texts) + 1 for texts in sample]
    count = len(rows)
    if task.window_stride is not None:
        # About as many as ``encode_windows`` makes of a text alone; the other half of a pair takes some room of each.
        each = [len(windows_of(length, max_length, task.window_stride)) for length in lengths]
        count = round(count * sum(each) / len(each))
    widths = np.minimum(lengths, max_length)
    return Sizes(count, int(np.ceil(widths.mean())), int(widths.max()))


def _beginning(
    files: Sequence[TextFile], cleaning: Cleaning, *, errors: str, broken_rows: str, room: int
) -> tuple[list[str], int, int]:
    """Return texts from the start of the sources, their bytes, and the bytes of the files, as packed, that hold them.

    Of a long text no more is kept than is encoded.
    """
    texts: list[str] = []
    read = packed = 0
    for file in files:
        position = 0

        def tell(count: int) -> None:
            nonlocal position
            position = count

        for text in cleaning.documents(
            file, errors=errors, broken_rows=broken_rows, troubles=Troubles(), room=room, progress=tell
        ):
            read += len(text.encode())
            texts.append(text[:_ENCODE_BYTES])
            if read >= _READ_BYTES:
                break
        packed += position
        if read >= _READ_BYTES:
            break
    return texts, read, packed


def _some(texts: Sequence[str], size: int) -> list[str]:
    taken, total = [], 0
    for text in texts:
        taken.append(text)
        total += len(text)
        if total >= size:
            break
    return taken

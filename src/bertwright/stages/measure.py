"""One real step, one measured megabyte and the rows of a task, before any work: what a forecast is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.heads import MaskedLMHead
from bertwright.encoder.models import Classifier, MaskedLM, build_classifier, build_masked_lm
from bertwright.encoder.stack import Encoder, set_dropout
from bertwright.errors import DataError
from bertwright.recipe.sections import Pretrain
from bertwright.stages.methods import choose_parameters
from bertwright.stages.setup import drawn_batch
from bertwright.stages.training_choices import optimizer_of
from bertwright.tasks.batches import windows_of
from bertwright.tasks.readers import read_rows, read_set
from bertwright.tasks.task import Task
from bertwright.text.cleaning import Cleaning
from bertwright.text.documents import Troubles
from bertwright.text.engine import Engine
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer, train_tokenizer
from bertwright.training import trainable
from bertwright.training.allocation import memory_kept
from bertwright.training.feed import on_device
from bertwright.training.losses import Loss, classification_loss, masked_lm_loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import choose

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
class StepCost:
    """Seconds of one micro-batch, forward and backward, and of one update; parameters of the model."""

    micro_batch: float
    update: float
    parameters: int


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


def measure_pretraining(
    config: EncoderConfig,
    choice: Pretrain,
    *,
    rows: int,
    length: int,
    device: str,
    precision: str,
    threads: int,
    again: bool = False,
) -> StepCost:
    """Take a real step on drawn tokens, (rows, length), and time the second micro-batch and the update.

    ``again``: activations are computed again on the way back.
    """
    model = build_masked_lm(config, seed=0)
    model.encoder.activation_checkpointing = again
    set_dropout(model, 0.0)
    batch = drawn_batch(config, rows, length, choice.mask_rate, apart=choice.document_mask)
    return _timed(model, masked_lm_loss, lambda: optimizer_of(model, choice), batch, device, precision, threads)


def measure_finetuning(
    config: EncoderConfig,
    trained: Mapping[str, Any],
    *,
    rows: int,
    length: int,
    longest: int,
    device: str,
    precision: str,
    threads: int,
) -> StepCost:
    """Take a real fine-tuning step on drawn tokens, (rows, length), of what a run's options say is ``trained``.

    Behind it goes one pass, untimed, as wide as the ``longest`` rows: a memory meter sees what that takes.
    """
    model = build_classifier(config, 2, seed=0)
    chosen = choose_parameters(model, trained, pooler=True)
    trainable.freeze_others(model, chosen)

    def batch_of(width: int) -> dict[str, object]:
        drawn = drawn_batch(config, rows, width, 0.15)
        return {**drawn, "labels": torch.zeros(rows, dtype=torch.long), "count": rows}

    def optimizer() -> Optimizer:
        named = [(name, parameter) for name, parameter in model.named_parameters() if name in chosen]
        return Optimizer(named, name="adamw", settings=Settings(0.0, 0.0), entries=trainable.entries_of(chosen))

    wide = batch_of(longest) if longest > length else None
    return _timed(model, classification_loss, optimizer, batch_of(length), device, precision, threads, wide)


def count_parameters(config: EncoderConfig) -> int:
    """Return the parameters of a masked language model of this shape, without building it."""
    with torch.device("meta"):
        model = MaskedLM(Encoder(config), MaskedLMHead(config))
    return sum(parameter.numel() for parameter in model.parameters())


def _timed(
    model: MaskedLM | Classifier,
    loss: Loss,
    new_optimizer: Callable[[], Optimizer],
    batch: dict[str, object],
    device: str,
    precision: str,
    threads: int,
    wide: dict[str, object] | None = None,
) -> StepCost:
    torch.set_num_threads(threads)
    chosen = choose(device, precision)
    model.to(chosen.device, chosen.dtype)
    model.encoder.attention_form("matmul" if chosen.device.type == "cpu" else "sdpa")
    optimizer = new_optimizer()
    batch, wide = (on_device(one, chosen.device) for one in (batch, wide or {}))
    updates = []
    with memory_kept():
        micro = [_seconds(model, loss, batch, optimizer) for _ in range(3)]
        for _ in range(2):
            begun = time.perf_counter()
            optimizer.norm()
            optimizer.step(scale=1.0, multiplier=0.0)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            updates.append(time.perf_counter() - begun)
            micro.append(_seconds(model, loss, batch, optimizer))
        if wide:
            _seconds(model, loss, wide, optimizer)
    return StepCost(min(micro[1:]), min(updates), sum(parameter.numel() for parameter in model.parameters()))


def _seconds(model: nn.Module, loss: Loss, batch: dict[str, object], optimizer: Optimizer) -> float:
    begun = time.perf_counter()
    loss(model, batch).total.backward()  # type: ignore[no-untyped-call]
    optimizer.accumulate()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


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

"""Answers to the rows of a file, window by window, in constant memory; a killed run goes on where it stood."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertwright import files
from bertwright.errors import Diverged, InputError
from bertwright.exits.drift import drift
from bertwright.exits.savings import exit_counts, expected_saving
from bertwright.pack import SUFFIX
from bertwright.stages.exiting import Exiting, exiting
from bertwright.stages.fine_tuned import Answering, FineTuned, answering, find
from bertwright.stages.packs import encoder_of
from bertwright.stages.work import RAMPS
from bertwright.tasks.answers import Columns, answers_of
from bertwright.tasks.partial_rows import Done, PartialRows, working
from bertwright.tasks.table_writers import Form, Writer, finish, form_of, open_writer
from bertwright.tasks.tables import Table, open_table, windows
from bertwright.training.precision import DTYPES, choose

Listener = Callable[[str, dict[str, Any]], None]
_VERB = "predict"


@dataclass(frozen=True)
class Left:
    """Where rows left: the policy, the layers of the exits and the rows that left at each, (E,), and what that saved.

    ``cautions`` say which thresholds let no row leave, or all; ``drift`` is what a comparison with the calibration rows
    gave, where the policy is the calibrated one, and ``drifted`` whether it warns.
    """

    policy: str
    layers: tuple[int, ...]
    counts: tuple[int, ...]
    saving: float
    cautions: tuple[str, ...] = ()
    drift: str | None = None
    drifted: bool = False


@dataclass(frozen=True)
class Predicted:
    """What was done: rows in all, how many of them were cut at ``max_length`` tokens, and how many have no text.

    An ``earlier`` try may have answered some; ``seconds`` and speed are those of this one. ``exits`` say where rows
    left, where they could; ``notes`` what of the file was read otherwise than usual.
    """

    out: Path
    rows: int
    cut: int
    empty: int
    max_length: int
    earlier: int
    seconds: float
    rows_per_second: float
    exits: Left | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "out": str(self.out)}


def _silent(_stage: str, _fields: dict[str, Any]) -> None:
    """Tell nobody."""


def predict(
    model: str | Path,
    file: str | Path,
    out: str | Path,
    *,
    text: str | Sequence[str] = (),
    prefix: str = "",
    precision: str = "auto",
    encoder: str | Path | None = None,
    exit: str | None = None,
    listen: Listener = _silent,
) -> Predicted:
    """Answer every row of a file with a fine-tuned run, and write its rows with the answers behind them.

    ``encoder`` is the folder of a pack's encoder; none: where the note beside the pack says it is. ``text`` names the
    columns of text where the file calls them otherwise than the task; ``prefix`` stands before the names of new
    columns. With ``exit``, a policy such as ``entropy:0.2`` or ``tuned`` for the calibrated one, rows leave at the
    first ramp that is sure, and a column ``exit_layer`` says where. Nothing is at ``out`` before all rows are done; the
    same call continues what was stopped.
    """
    file, out, text = Path(file), Path(out), (text,) if isinstance(text, str) else tuple(text)
    if precision not in ("auto", *DTYPES):
        raise InputError(f"precision {precision!r} is not known; it is auto, {', '.join(DTYPES)}")
    found, task = find(Path(model))
    beside = _encoder(found, encoder)
    if text and len(text) != len(task.columns):
        raise InputError(
            f"{len(text)} columns of text were named, and task {task.task} has {len(task.columns)}: "
            f"{', '.join(task.columns)}; give --text once for each, in this order"
        )
    if exit is not None and task.window_stride is not None:
        raise InputError(f"{model} answers long rows by windows, and exits are of whole rows; leave --exit out")
    form, table = form_of(out), open_table(file, text or task.columns)
    with working(out) as partial:
        return _work(_Asked(found, beside, task, table, form, prefix, precision, exit), out, partial, listen)


def _encoder(model: Path, encoder: str | Path | None) -> Path | None:
    """Return the folder of the encoder that goes with a pack; a model's folder has its own."""
    if model.suffix == SUFFIX:
        return Path(encoder) if encoder is not None else encoder_of(model)
    if encoder is not None:
        raise InputError(f"{model} is a whole model and needs no encoder; leave --encoder out, or name a pack")
    return None


@dataclass(frozen=True)
class _Asked:
    """All that decides what is written."""

    model: Path
    encoder: Path | None
    """The folder of a pack's encoder."""
    task: FineTuned
    table: Table
    form: Form
    prefix: str
    precision: str
    exit: str | None = None

    def parts(self, precision: str, policy: str | None) -> dict[str, Any]:
        """Return what has to be the same for an earlier try to be continued."""
        names = ("config.json", "model.safetensors", "tokenizer.json", *((RAMPS,) if policy else ()))
        folder = self.encoder or self.model
        model = {name: files.checksum(folder / name) for name in names if (folder / name).is_file()}
        model |= {"pack": files.checksum(self.model)} if self.encoder else {}
        return {
            "the model": {**model, "task": {**asdict(self.task), "text": list(self.task.text)}},
            "the input": {"file": files.checksum(self.table.file.path), "text": list(self.table.text)},
            "the form of the output": {**asdict(self.form), "prefix": self.prefix},
            "the precision": precision,
            **({"the policy": policy} if policy else {}),
        }


def _work(asked: _Asked, out: Path, partial: PartialRows, listen: Listener) -> Predicted:
    begun = time.monotonic()
    listen(_VERB, {"event": "begin", "kind": _VERB, "why": f"looks through {asked.table.file.path}"})
    place = choose("auto", asked.precision)
    model, task = answering(asked.model, place, asked.encoder), asked.task
    early = None if asked.exit is None else exiting(model, asked.model, task.kind, asked.exit)
    about = (asked.prefix, task.label_separator, task.none_label)
    columns = Columns(task.kind, model.labels, *about, exits=early is not None)
    writer, rows = open_writer(asked.table, asked.form, columns)
    parts = asked.parts(f"{place.name} on {place.device.type}", None if early is None else early.policy.text)
    resumed, why = partial.resume(parts)
    if not resumed:
        partial.begin(parts, writer.begin())
    before = partial.done.rows
    if said := f"starts afresh; {why}" if why else f"goes on behind row {before:,} of {rows:,}" if before else None:
        listen(_VERB, {"event": "work", "said": said})
    _answer(early or model, asked, columns, writer, partial, _Progress(before, rows, listen))
    partial.finish(out, lambda source, target: finish(source, target, asked.form))
    listen(_VERB, {"event": "done", "kind": _VERB})
    done, seconds = partial.done, time.monotonic() - begun
    length, speed = min(task.max_length, model.config.positions), (rows - before) / seconds
    left = None if early is None or not done.rows else _left(early, done.left)
    return Predicted(
        out,
        *(done.rows, done.cut, done.empty, length, before),
        *(round(seconds, 3), round(speed, 1)),
        exits=left,
        notes=asked.table.notes,
    )


def _left(early: Exiting, counts: Sequence[int]) -> Left:
    """Return where rows left, held against where the calibration rows did."""
    saving = expected_saving(np.array(counts), early.exits)
    calibrated = early.calibrated
    found = Left(early.policy.text, early.exits, tuple(counts), saving, early.cautions)
    if calibrated is None:
        return found
    moved = drift(calibrated, counts)
    return replace(found, drift=moved.sentence, drifted=moved.drifted)


def _answer(
    model: Answering | Exiting,
    asked: _Asked,
    columns: Columns,
    writer: Writer,
    partial: PartialRows,
    progress: _Progress,
) -> None:
    """Answer all windows that are not finished."""
    for window in windows(asked.table, partial.done.rows):
        run = model if isinstance(model, Answering) else model.answering
        encoded = run.encode(asked.task.texts(window.texts), asked.task.max_length, asked.task.window_stride)
        layers, left = None, tuple[int, ...]()
        if isinstance(model, Answering):
            logits = model.logits(encoded, progress.tell)
        else:
            exited = model.answer(encoded, progress.tell)
            logits, layers = exited.logits, exited.layers
            left = tuple(int(count) for count in exit_counts(np.searchsorted(model.exits, layers), len(model.exits)))
        try:
            answers = replace(answers_of(logits, asked.task.kind, columns.labels), layers=layers)
        except Diverged as error:
            raise Diverged(
                f"{asked.table.file.path}, rows {window.numbers[0]} to {window.numbers[-1]}: {error}; to answer with "
                "this model, try --precision fp32"
            ) from error
        empty = sum(not any(text.strip() for text in row) for row in window.texts)
        partial.add(writer.rows(window, answers), Done(len(window), encoded.cut, left=left, empty=empty))


class _Progress:
    """Tells a listener how many rows are answered, of how many, and how fast."""

    def __init__(self, before: int, total: int, listen: Listener) -> None:
        self._begun, self._before, self._total, self._listen = time.monotonic(), before, total, listen
        self._done = before

    def tell(self, rows: int) -> None:
        """Count some more rows."""
        self._done = min(self._total, self._done + rows)  # of long rows windows are counted
        speed = (self._done - self._before) / max(1e-9, time.monotonic() - self._begun)
        figures = {"rows": self._done, "rows_per_second": speed, "seconds_left": (self._total - self._done) / speed}
        self._listen(_VERB, {"event": "work", "share": self._done / self._total, **figures})

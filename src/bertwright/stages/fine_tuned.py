"""The folder of a fine-tuned run: the task that it answers, and its model, ready to answer.

``task.json`` beside the weights says what a model's own config does not: the columns of text and the longest row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError

from bertwright import files, pack, store
from bertwright.encoder import families
from bertwright.encoder.models import Classifier
from bertwright.encoder.ordinary_config import settings_in
from bertwright.errors import DataError, InputError
from bertwright.pack import SUFFIX, PackTask
from bertwright.pack_card import Strict, first_fault
from bertwright.stages.packs import encoder_of, with_pack
from bertwright.stages.work import MODEL, PACK
from bertwright.tasks.batches import Encoded, averaged, in_order_of_length, lay_out
from bertwright.tasks.task import Task
from bertwright.tasks.texts import columns_of, texts_of
from bertwright.text.documents import ignore
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.feed import on_device
from bertwright.training.precision import Precision

TASK = "task.json"
_BATCH = 64
_RUN = "bertwright-store/runs/RECIPE/tasks/TASK/VARIANT/seed-0"
_AGAIN = "copy the run's folder once more"


@dataclass(frozen=True)
class FineTuned(Strict):
    """What a run learnt: its task's kind and columns of text, and how rows are cut and several labels written."""

    task: str
    kind: Literal["classification", "multi-label", "regression"]
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    max_length: Annotated[int, Field(ge=4)]
    none_label: str | None
    label_separator: str
    window_stride: Annotated[int, Field(ge=1)] | None = None
    brackets: bool = False
    """Whether treebank marks are turned back, as they were in training."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the texts are made of, each once."""
        return columns_of(self.text)

    def texts(self, rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Return the texts of rows of these columns, as they were made in training."""
        return [texts_of(self.text, cells, brackets=self.brackets) for cells in rows]


_FINE_TUNED = TypeAdapter(FineTuned)


def write_task(folder: Path, task: Task, max_length: int) -> None:
    """Write into a model's folder which task it answers, and how."""
    files.write_json(folder / TASK, asdict(described(task, max_length)))


def described(task: Task, max_length: int) -> FineTuned:
    """Return a task as a run's folder, or its pack, has it."""
    return _described(task.options(), max_length)


def _described(options: dict[str, Any], max_length: int) -> FineTuned:
    return FineTuned(
        options["name"],
        options["kind"],
        tuple(options["text"]),
        max_length,
        options["none_label"],
        options["label_separator"],
        options.get("window_stride"),
        bool(options.get("layout", {}).get("brackets", False)),
    )


def find(folder: Path) -> tuple[Path, FineTuned]:
    """Return the model's folder of a fine-tuned run, or its pack, and its task.

    ``folder`` is the run's (sealed, or a name that points to it), its model's or a pack; ``InputError`` says what else
    it is, ``DataError`` what is damaged in it.
    """
    if (path := folder if folder.suffix == SUFFIX else folder / PACK).is_file():
        return path, in_pack(pack.read(path).task)
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "is not there"
        raise InputError(f"{folder} {what}; name the folder of a fine-tuned run, such as {_RUN}")
    model = folder / MODEL if (folder / MODEL / "config.json").is_file() else folder
    if not (model / "config.json").is_file():
        raise InputError(f"{folder} is no fine-tuned run ({_found(folder)}); expected a folder such as {_RUN}")
    settings = settings_in(model)
    task = _read(model / TASK) if (model / TASK).is_file() else _in_record(model.resolve().parent / store.RECORD)
    if task is None:
        raise InputError(
            f"{folder} holds {_class_of(settings)} and no {TASK}: it was not fine-tuned by `bertwright finetune`; "
            f"expected the folder of a run, such as {_RUN}"
        )
    problem, expected = settings.get("problem_type"), families.PROBLEMS[task.kind]
    if problem is not None and problem != expected:
        raise DataError(
            f"{model}: config.json says problem_type {problem!r}, expected {expected!r} for kind {task.kind!r} of "
            f"{TASK}; {_AGAIN}"
        )
    return model, task


def _class_of(settings: dict[str, Any]) -> str:
    """Return what a config calls its model."""
    names = settings.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else "a model"


def in_pack(task: PackTask) -> FineTuned:
    """Return a pack's task as ``task.json`` has it."""
    values = {**asdict(task), "task": task.name}
    return FineTuned(**{one.name: values[one.name] for one in fields(FineTuned)})


def _found(folder: Path) -> str:
    """Say what a folder that is no run holds: the runs below it, or its first files."""
    models = [path.parent for path in folder.glob("**/seed-*/config.json")]
    runs = sorted(path.relative_to(folder) for path in [*models, *folder.glob("**/seed-*.pack")])
    if runs:
        return f"it holds the runs {', '.join(map(str, runs[:5]))}{', ...' if len(runs) > 5 else ''}: name one"
    names = sorted(path.name for path in folder.iterdir())
    return f"it holds {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "it is empty"


def _read(path: Path) -> FineTuned:
    """Return the task of a ``task.json``."""
    return _checked(path.read_bytes(), path)


def _in_record(path: Path) -> FineTuned | None:
    """Return the task that a run's record tells: runs that were sealed before task.json was written say it there."""
    try:
        options = files.read_json(path)["parts"]["options"] if path.is_file() else {}
        if "task" not in options or "max_length" not in options:
            return None
        found = asdict(_described(options["task"], options["max_length"]))
    except KeyError:
        return None  # the record of another stage
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: found no record of a run, which is a JSON object ({error}); {_AGAIN}") from error
    return _checked(json.dumps(found).encode(), path)


def _checked(content: bytes, path: Path) -> FineTuned:
    """Return a task that is JSON; ``DataError`` says the first thing that is wrong with it."""
    try:
        return _FINE_TUNED.validate_json(content)
    except ValidationError as error:
        raise DataError(f"{path}: {first_fault(error, 'the task')}; {_AGAIN}") from error


class Answering:
    """A classifier with its labels and tokenizer, placed where it works."""

    def __init__(self, model: Classifier, labels: tuple[str, ...], tokenizer: Tokenizer, precision: Precision) -> None:
        self.labels = labels
        self.config = model.encoder.config
        self.tokenizer = tokenizer
        self.precision = precision
        self._model = model.eval()
        self._model.to(precision.device, precision.dtype)

    @property
    def model(self) -> Classifier:
        """Return the classifier, where it works."""
        return self._model

    def encode(self, texts: Sequence[tuple[str, ...]], max_length: int, stride: int | None = None) -> Encoded:
        """Encode rows without labels, as the model was trained on them."""
        return lay_out(texts, np.zeros(len(texts)), self.tokenizer, self.config, max_length, stride)

    def logits(self, rows: Encoded, progress: Callable[[int], None] = ignore) -> np.ndarray:
        """Return logits (n, C), fp32, in the order of the rows, of which there has to be one: means over windows.

        ``progress`` is told how many rows, or windows, were answered since it was told last.
        """
        return answer_rows(self._model, rows, self.precision.device, progress)


def answering(found: Path, precision: Precision, encoder: Path | None = None) -> Answering:
    """Return what answers as a run does: its model's folder or its pack (with its ``encoder``), or the run's folder."""
    if (path := found if found.suffix == SUFFIX else found / PACK).is_file():
        model, its, tokenizer = with_pack(path, encoder or encoder_of(path))
        return Answering(model, its.task.labels, tokenizer, precision)
    folder = found / MODEL if (found / MODEL / "config.json").is_file() else found
    loaded = families.load(folder)
    if loaded.classifier is None or loaded.labels is None:
        raise DataError(f"{folder}: the model has no classifier; expected the folder of a fine-tuned run")
    return Answering(Classifier(loaded.encoder, loaded.classifier), loaded.labels, Tokenizer.load(folder), precision)


def answer_rows(
    model: Classifier, rows: Encoded, device: torch.device, progress: Callable[[int], None] = ignore
) -> np.ndarray:
    """Return a classifier's logits (n, C), fp32, in the order of the rows, of which there has to be one.

    A long row's are the means over its windows. ``progress`` is told how many rows, or windows, were answered since it
    was told last.
    """
    parts, places = [], []
    model.eval()
    with torch.inference_mode():
        for chosen, batch in in_order_of_length(rows, _BATCH):
            here = on_device(batch, device)
            found = model(here["ids"], here["mask"], here["segments"])
            parts.append(found.float().cpu().numpy())
            places.append(chosen)
            progress(len(chosen))
    answers = np.concatenate(parts)
    logits = np.empty_like(answers)
    logits[np.concatenate(places)] = answers
    return averaged(logits, rows)

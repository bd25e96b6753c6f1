"""Known tasks: their columns, kind and metrics, and how their files are found in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.errors import DataError, InputError
from bertwright.tasks.task import Task

_PACKED = ("", ".gz", ".zst")
_SUFFIXES = (*(kind + packed for kind in (".jsonl", ".csv", ".tsv") for packed in _PACKED), ".parquet")


@dataclass(frozen=True)
class Known:
    """How a known task looks; ``sets`` are the names of its labelled files beside ``train``."""

    kind: str
    text: tuple[str, ...]
    metrics: tuple[str, ...]
    sets: tuple[str, ...] = ("dev",)
    label: str = "label"
    positive: str | None = None
    none_label: str | None = None


_PAIR = ("sentence1", "sentence2")

CATALOGUE: dict[str, Known] = {
    "rte": Known("classification", _PAIR, ("accuracy",)),
    "mrpc": Known("classification", _PAIR, ("f1", "accuracy"), positive="equivalent"),
    "cola": Known("classification", ("sentence",), ("matthews", "accuracy")),
    "stsb": Known("regression", _PAIR, ("spearman", "pearson")),
    "trec": Known("classification", ("text",), ("accuracy", "macro_f1"), sets=("test",)),
    "hoc": Known("multi-label", ("sentence",), ("micro_f1", "macro_f1"), sets=("dev", "test"), label="labels"),
}


def locate(name: str, folder: Path, *, called: str | None = None) -> Task:
    """Return a known task with its files in ``folder``: train and the labelled sets, as jsonl, csv, tsv or parquet."""
    if name not in CATALOGUE:
        raise InputError(f"task {name!r} is not known; known are {', '.join(CATALOGUE)}")
    known = CATALOGUE[name]
    files = {part: _find(name, folder, part) for part in ("train", *known.sets)}
    return Task(
        name=called or name,
        kind=known.kind,
        text=known.text,
        label=known.label,
        train=files.pop("train"),
        sets=files,
        metrics=known.metrics,
        positive=known.positive,
        none_label=known.none_label,
    )


def listing() -> list[dict[str, Any]]:
    """Return a row for each known task, as words."""
    return [
        {
            "name": name,
            "kind": known.kind,
            "text": ", ".join(known.text),
            "label": known.label,
            "sets": ", ".join(("train", *known.sets)),
            "metrics": ", ".join(known.metrics),
        }
        for name, known in CATALOGUE.items()
    ]


def _find(task: str, folder: Path, part: str) -> Path:
    found = [path for suffix in _SUFFIXES if (path := folder / f"{part}{suffix}").is_file()]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"task {task}: {folder} has {names}, expected one file {part}; move the others elsewhere")
    if found:
        return found[0]
    there = ", ".join(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else "no such folder"
    raise DataError(f"task {task}: {folder} has no file {part} with suffix {', '.join(_SUFFIXES)} (found: {there})")

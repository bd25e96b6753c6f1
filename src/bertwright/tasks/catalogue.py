"""Known tasks by name, how their files are found, and what they look like in a list."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertwright.errors import DataError, InputError
from bertwright.tasks.dev_pairs import dev_pairs
from bertwright.tasks.known import Known
from bertwright.tasks.known_glue import GLUE, SUPERGLUE
from bertwright.tasks.known_others import OTHERS
from bertwright.tasks.task import SetForm, Task

CATALOGUE: dict[str, Known] = {**GLUE, **SUPERGLUE, **OTHERS}

_PACKED = ("", ".gz", ".zst")
_KINDS = (".jsonl", ".csv", ".tsv")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_TESTS = {"ax": ("ax", "AX", "diagnostic")}
_USUAL = {"dev": ("dev", "validation", "val"), "eval": ("eval", "dev", "validation")} | {
    f"dev_{half}": (f"dev_{half}", f"validation_{half}") for half in ("matched", "mismatched")
}


def known_task(name: str) -> Known:
    """Return a known task; ``InputError`` with the nearest name where there is none."""
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name.lower().replace("-", ""), CATALOGUE, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"task {name!r} is not known{hint} (known are {', '.join(CATALOGUE)})")
    return CATALOGUE[name]


def locate(
    name: str,
    folder: Path | None = None,
    *,
    called: str | None = None,
    train: Path | None = None,
    sets: Mapping[str, Path] | None = None,
) -> Task:
    """Return a known task with its files: those that are given, and for the rest what ``folder`` holds."""
    known = known_task(name)
    found = dict(sets or {})
    if folder is not None:
        train = train or _find(name, folder, "train")
        found = {part: _find(name, folder, part) for part in known.sets if part not in found} | found
    if train is None or not found:
        raise DataError(f"task {called or name}: no `folder`, and no `train` with `sets`; name where its files are")
    return Task(
        name=called or name,
        kind=known.kind,
        text=known.text,
        label=known.label,
        train=train,
        sets=found,
        metrics=known.metrics,
        positive=known.positive,
        none_label=known.none_label,
        layout=known.layout,
        groups=known.groups,
        documents=known.documents,
        without=dev_pairs(train) if known.dev_in_train else (),
    )


def unlabelled(name: str, folder: Path, parts: Sequence[str]) -> dict[str, Path]:
    """Return the test files without labels in a known task's folder, by part; what is not there is left out."""
    found: dict[str, Path] = {}
    for part in parts:
        stems = _TESTS.get(part, (f"{part}_unlabeled", part))
        if files := _candidates(known_task(name), folder, stems):
            if len(files) > 1:
                names = ", ".join(str(path.relative_to(folder)) for path in files)
                raise DataError(f"task {name}: {folder} has {names}, expected one file {part}; name it in `unlabelled`")
            found[part] = files[0]
    return found


def form_of(task: Task, name: str, *, merge: str | None = None) -> SetForm:
    """Return how a set of another known task is read and scored for the models of ``task``."""
    known = known_task(name)
    if known.kind != "classification" or task.kind != "classification":
        raise InputError(
            f"task {task.name}: a set of {name} ({known.kind}) cannot be scored with it ({task.kind}); only labels of "
            "classification become others"
        )
    return SetForm(
        text=known.text,
        label=known.label,
        metrics=known.metrics,
        positive=known.positive,
        layout=known.layout,
        groups=known.groups,
        known=name,
        merge=merge or known.merge,
        becomes=known.becomes,
    )


def listing() -> list[dict[str, Any]]:
    """Return a row for each known task, as words."""
    return [
        {
            "name": name,
            "kind": known.kind,
            "text": ", ".join(known.text),
            "label": known.label,
            "labels": list(known.layout.labels),
            "sets": ", ".join((*(("train",) if _has_train(known) else ()), *known.sets) or known.sizes),
            "metrics": ", ".join(known.metrics),
            "sizes": dict(known.sizes),
            "forms": known.forms,
        }
        for name, known in CATALOGUE.items()
    ]


def listing_lines() -> list[str]:
    """Return the list for a terminal, three lines a task."""
    lines = []
    for row in listing():
        labels = ", ".join(row["labels"]) or ("a number" if row["kind"] == "regression" else "as in the file")
        sizes = ", ".join(f"{part} {count:,}" for part, count in row["sizes"].items()) or "not published as one file"
        lines += [
            f"{row['name']}: {row['kind']} of {row['text']}; {row['label']}: {labels}",
            f"    scored by {row['metrics']}; reads {row['sets']}; official rows: {sizes}",
            f"    files: {row['forms']}",
        ]
    return lines


def _find(task: str, folder: Path, part: str) -> Path:
    known = CATALOGUE[task]
    usual = _USUAL.get(part, (part,))
    found = _candidates(known, folder, usual) or _candidates(known, folder, known.stems.get(part, ()))
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise DataError(
            f"task {task}: {folder} has {names}, expected one file {part}; move the others elsewhere, or name the one "
            "that is meant with `train` or in `sets`"
        )
    if found:
        return found[0]
    if folder.is_file():
        raise DataError(
            f"task {task}: {folder} is a file, and `folder` is where its files are; name {folder.parent}, or name the "
            "files with `train` and `sets`"
        )
    if part == "train" and not _has_train(known):
        raise DataError(
            f"task {task}: it has no training rows of its own, and {folder} none either; name a file of it in the "
            f"`sets` of another task, as {{file: ..., known: {task}}}, or give `train`"
        )
    there = ", ".join(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else "no such folder"
    stems = ", ".join((*usual, *known.stems.get(part, ())))
    raise DataError(
        f"task {task}: {folder} has no file {part} (called {stems}) with suffix {', '.join(_suffixes(known))} "
        f"(found: {there}); name the files with `train` and `sets`"
    )


def _has_train(known: Known) -> bool:
    """Whether publishers give training rows, as far as sizes tell."""
    return "train" in known.sizes or not known.sizes


def _suffixes(known: Known) -> tuple[str, ...]:
    kinds = (*_KINDS, ".txt") if known.layout.txt else _KINDS
    return (*(kind + packed for kind in kinds for packed in _PACKED), ".parquet")


def _candidates(known: Known, folder: Path, stems: tuple[str, ...]) -> list[Path]:
    """Return the files of one part, in the folder itself or in one that publishers put inside, each once."""
    found: dict[tuple[int, int], Path] = {}
    for place in (folder, *(folder / inner for inner in (*known.folders, "data"))):
        inside = sorted(place.iterdir()) if place.is_dir() else []
        named = [path for path in inside if any(stem in stems for stem in _stems(path.name, known))]
        # What the hub makes of other forms lies in a folder for each part: train/0000.parquet.
        made = [path for stem in stems for path in sorted((place / stem).glob("[0-9]*.parquet"))]
        for path in filter(Path.is_file, [*named, *made]):
            state = path.stat()  # RTE and rte are one folder where letters' case is no difference
            found.setdefault((state.st_dev, state.st_ino), path)
    return list(found.values())


def _stems(name: str, known: Known) -> Iterator[str]:
    """Give a file's name without its suffix, and without the tail that numbers the hub's pieces."""
    for suffix in _suffixes(known):
        if name.endswith(suffix):
            yield _SHARD.sub("", name.removesuffix(suffix))

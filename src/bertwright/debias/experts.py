"""Experts: what they read, which rows each one learns from, and those that come in a user's file.

Shapes: n rows, C classes, k folds.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from bertwright.debias.signals import label_order
from bertwright.errors import DataError, InputError
from bertwright.tasks.cells import Heading, rows_in, whole_characters
from bertwright.tasks.readers import Rows

_LEAST_PROBABILITY = 1e-6
_LARGEST_NPZ = 1 << 31  # bytes, unpacked
_NPZ_FAULTS = (
    *(ValueError, OSError, EOFError, MemoryError, RecursionError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
_EXAMPLE = "a row: id, and a logit for each label under the label's name"


def folds(
    ids: Sequence[str], golds: np.ndarray, k: int, *, seed: int, groups: Sequence[str] | None = None
) -> np.ndarray:
    """Return the fold of each row, (n,), 0 .. k - 1: an expert that learnt from the others scores it (cross-fitting).

    Each class is dealt out evenly. A row's fold hangs on the seed, its id and the set of rows, not on their order. Rows
    of one group (a claim that comes with several texts) stay together. ``InputError`` for fewer than two folds, or more
    than there are rows or groups.
    """
    keys = list(ids if groups is None else groups)
    first: dict[str, int] = {}
    for row in sorted(range(len(ids)), key=lambda row: ids[row]):
        first.setdefault(keys[row], row)
    if not 2 <= k <= len(first):
        raise InputError(f"found {k} folds for {len(first):,} rows, or groups of them; set from 2 to as many as these")
    drawn = {
        key: (int(golds[row]), xxhash.xxh3_64_intdigest(key.encode(), seed=seed), key) for key, row in first.items()
    }
    # Classes one behind the other, each in drawn order, dealt like cards: no fold has two more than another.
    fold = {key: place % k for place, key in enumerate(sorted(drawn, key=drawn.__getitem__))}
    return np.array([fold[key] for key in keys], dtype=np.int64)


def dealt(rows: Rows, golds: np.ndarray, k: int, *, seed: int, whole: bool) -> np.ndarray:
    """Return the fold of each row, (n,), all 0 for one; where the texts are not ``whole`` rows, equal ones go together.

    ``InputError`` as ``folds`` has it.
    """
    if k == 1:
        return np.zeros(len(rows), dtype=np.int64)
    groups = None
    if not whole:
        # An empty part is no text that could be learnt by heart: such rows would all be one fold.
        parts = ["\x1f".join(text) for text in rows.texts]
        groups = [part if part.strip("\x1f \t") else f"\x1e{own}" for part, own in zip(parts, rows.ids, strict=True)]
    try:
        return folds(rows.ids, golds, k, seed=seed, groups=groups)
    except InputError as error:
        raise InputError(f"the expert's `folds`: {error}") from error


def partial(
    texts: Sequence[tuple[str, ...]], columns: Sequence[str], keep: Sequence[str]
) -> tuple[list[tuple[str, ...]], tuple[int, ...]]:
    """Return rows with some of their columns only, and which of the columns these are; ``InputError`` for others."""
    if not keep or len(set(keep)) < len(keep) or (wrong := [name for name in keep if name not in columns]):
        found = ", ".join(wrong) if keep and len(set(keep)) == len(keep) else ", ".join(keep) or "none"
        raise InputError(f"found the expert's columns {found}; expected one or more of {', '.join(columns)}, each once")
    places = tuple(list(columns).index(name) for name in keep)
    return [tuple(row[place] for place in places) for row in texts], places


@dataclass(frozen=True)
class ExpertFile:
    """A user's expert: ids, and logits (n, C) in the order of the labels that were asked for; notes for the report."""

    ids: tuple[str, ...]
    logits: np.ndarray
    notes: tuple[str, ...] = ()


def read_expert(
    path: Path,
    labels: Sequence[str],
    *,
    values: str = "logits",
    columns: Mapping[str, str] | None = None,
) -> ExpertFile:
    """Read an expert's logits from csv, tsv, jsonl or parquet (a column ``id`` and one for each label), or npz.

    ``columns`` names the column of a label where it is called otherwise (``label_0``); npz holds arrays ``ids`` (n,),
    ``logits`` (n, C) and ``labels`` (C,), by whose names columns are matched. ``values`` is "logits" or
    "probabilities". ``DataError`` says what was found and what is expected.
    """
    if values not in ("logits", "probabilities"):
        raise InputError(f"values: found {values!r}, expected logits or probabilities")
    if not path.is_file():
        raise DataError(f"{path} is not there; name a file with {_EXAMPLE}")
    others: list[str] = []
    if path.suffix == ".npz":
        ids, found = _npz(path, labels)
    else:
        ids, found, others = _table(path, labels, columns or {})
    if not ids:
        raise DataError(f"{path} has no rows; expected {_EXAMPLE}")
    if len(set(ids)) < len(ids):
        raise DataError(f"{path}: {len(ids) - len(set(ids)):,} id(s) stand there twice; expected each row once")
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise DataError(
            f"{path}, row with id {ids[row]}: found {found[row].tolist()}, expected finite numbers; correct the file"
        )
    notes = []
    if others:
        notes.append(f"{path.name}: found {', '.join(others)} beside the task's labels, which is not read")
    raised = int((found < _LEAST_PROBABILITY).sum()) if values == "probabilities" else 0
    if raised:
        notes.append(f"{path.name}: {raised:,} probabilities below {_LEAST_PROBABILITY:g} were taken to be that")
    return ExpertFile(ids, _as_logits(path, found, values), tuple(notes))


def _as_logits(path: Path, numbers: np.ndarray, values: str) -> np.ndarray:
    """Return a file's numbers (n, C) as logits, fp32; ``DataError`` where they are not the ``values`` that it has."""
    probable = bool((numbers >= 0).all() and np.allclose(numbers.sum(axis=1), 1.0, atol=1e-3))
    if values == "probabilities" and not probable:
        raise DataError(
            f"{path}: values: probabilities was asked for, and not every row's numbers lie within 0 and 1 and sum to "
            "1; set values: logits, or correct the file"
        )
    if values == "logits" and probable and numbers.shape[1] > 1:
        raise DataError(
            f"{path}: the numbers of every row lie within 0 and 1 and sum to 1, as probabilities do, and logits "
            "were expected; set values: probabilities"
        )
    return (np.log(np.maximum(numbers, _LEAST_PROBABILITY)) if values == "probabilities" else numbers).astype(
        np.float32
    )


def _table(
    path: Path, labels: Sequence[str], columns: Mapping[str, str]
) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Return ids, logits, and the columns that are neither."""
    if wrong := [name for name in columns if name not in labels]:
        raise InputError(f"columns: found the label {wrong[0]!r}, expected some of {', '.join(labels)}")
    names = [columns.get(label, label) for label in labels]
    ids, rows, heading = [], [], Heading((), every=True)
    for number, row in rows_in(path, heading):
        if missing := [name for name in ("id", *names) if name not in row]:
            raise DataError(
                f"{path}, row {number}: found the columns {', '.join(row)}, and {', '.join(missing)} is missing; "
                f"expected {_EXAMPLE}, or the column of a label in the expert's `names`"
            )
        ids.append(whole_characters(str(row["id"]), "id", f"{path}, row {number}"))
        try:
            rows.append([float(row[name]) for name in names])
        except (TypeError, ValueError, OverflowError):
            shown = ", ".join(f"{name}: {row[name]!r}" for name in names)
            raise DataError(f"{path}, row {number}: found {shown}, expected a number for each label") from None
    others = [name for name in heading.names if name not in ("id", *names)]
    return tuple(ids), np.array(rows, dtype=np.float64), others


def _npz(path: Path, labels: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    wanted = ("ids", "logits", "labels")
    try:
        with zipfile.ZipFile(path) as archive:
            # Packed zeros take a thousandth of their room: what a file would take is looked at before it is unpacked.
            if (size := sum(entry.file_size for entry in archive.infolist())) > _LARGEST_NPZ:
                raise DataError(
                    f"{path}: its arrays take {size / 1e9:,.1f} GB, and at most {_LARGEST_NPZ / 1e9:.1f} are read; "
                    "write one row of logits for each training row, in 32 bits, or use parquet"
                )
        with np.load(path, allow_pickle=False) as content:
            if missing := [name for name in wanted if name not in content.files]:
                raise DataError(
                    f"{path}: found the arrays {', '.join(content.files) or 'none'}, and {', '.join(missing)} is "
                    "missing; expected ids (n,), logits (n, C) and labels (C,)"
                )
            ids, logits, names = (content[name] for name in wanted)
    except _NPZ_FAULTS as error:
        raise DataError(
            f"{path}: not a readable npz file of plain arrays ({error}); write it with numpy.savez"
        ) from None
    shapes = (ids.ndim, names.ndim) == (1, 1) and logits.shape == ids.shape + names.shape
    if not shapes or logits.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: found logits of shape {logits.shape} and type {logits.dtype} for ids of shape {ids.shape} and "
            f"labels of shape {names.shape}; expected numbers: a row for each id, a column for each label"
        )
    order = label_order([str(name) for name in names], labels, path)
    return tuple(str(one) for one in ids.tolist()), logits.astype(np.float64)[:, order]

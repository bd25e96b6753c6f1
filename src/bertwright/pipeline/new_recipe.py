"""The recipe that ``bertwright init`` writes: a comment at each choice, and the user's files where named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bertwright.errors import InputError
from bertwright.tasks.guess import Guess, guess_task
from bertwright.units import parse_amount

_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_TO_SCORE_ON = ("dev", "valid", "validation", "val", "test")
# Bytes of text below which a vocabulary of so many pieces is enough.
_VOCABULARIES = ((2_000_000, 4_000), (20_000_000, 8_000), (200_000_000, 16_000))
_LARGEST = 30_000
# Labels that a note names; it counts the others.
_NAMED_LABELS = 5

_TOP = """\
# Written by `bertwright init`. Check it: bertwright check {name}
# Every choice stands in docs/recipe.md. A section that is left out is off.

seed: 0
"""
_PREPARE = """
prepare:
  sources:
{sources}
  row_length: 128                 # tokens a row
"""
_ANY_TEXT = """\
    - path: texts/                # a file, a folder, or a pattern such as texts/*.txt.gz
    # - path: notes.csv           # csv, tsv, jsonl and parquet need the column with the text
    #   column: note"""
_TOKENIZER = """
tokenizer:
  vocabulary: {vocabulary:<6}              # less for a small corpus
"""
_FRESH = """
encoder:
  family: bert                    # bert, bert-preln, modern, roberta, distilbert
  size: mini                      # tiny, mini, small, medium, base, large
  # folder: my-model/             # or continue from an ordinary model folder, and leave out family and size
"""
_GIVEN = """
encoder:
  folder: {folder}
"""
_PRETRAIN = """
pretrain:
  budget: {budget:<8}                # or steps, epochs, tokens
  batch: 32                       # in a short budget many small updates learn more than few large ones
"""
_FROM_SCRATCH = """\
  optimizer: muon                 # for a fresh encoder; to continue one: adamw, with a learning rate of 2.0e-4
  learning_rate: 2.0e-3
"""
_GOING_ON = """\
  optimizer: adamw                # to continue an encoder; for a fresh one: muon, with a learning rate of 2.0e-3
  learning_rate: 2.0e-4
"""
_FINETUNE = """
finetune:
  epochs: 3
  seeds: 3                        # runs of each task, for an honest mean
"""
_ADAPT = """\
  # trainable: bitfit             # biases and a head alone: a pack of kilobytes beside the encoder, for many tasks
"""
_BASELINE = """\
  baseline: true                  # also fine-tune {what}, to see what pretraining gave
"""
_TASKS = """
tasks:                            # known ones: bertwright tasks; what is in your file: bertwright tasks --guess FILE
"""
_ANY_TASK = """\
  - name: triage
    train: triage/train.csv
    sets:
      dev: triage/dev.csv
    text: text                    # one column, or [first, second] for pairs
    label: label
"""


@dataclass(frozen=True)
class Draft:
    """The text of a recipe, and what its user should know: what was guessed, and what is to be filled in."""

    text: str
    notes: tuple[str, ...]


def new_recipe(
    path: Path,
    *,
    text: Sequence[Path] = (),
    tasks: Sequence[Path] = (),
    encoder: Path | None = None,
    budget: str = "20 min",
) -> Draft:
    """Return a recipe, to stand at ``path``, for files that are looked into; ``InputError`` for one that is not there.

    ``text`` are files and folders to pretrain on, ``tasks`` files of training rows, ``encoder`` a model folder to
    continue or to fine-tune. Where none is named, the recipe has places to fill in.
    """
    for named in (*text, *tasks, *([encoder] if encoder else [])):
        if not named.exists():
            raise InputError(f"{named} is not there; name a file or folder that is")
    try:
        parse_amount(budget)
    except ValueError as error:
        raise InputError(f"--budget: {error}") from error
    notes: list[str] = []
    nothing_named = not (text or tasks or encoder)
    parts = [_TOP.format(name=path)]
    pretrains = bool(text) or nothing_named
    if pretrains:
        parts += [
            _text_part(text, path.parent, notes),
            "" if encoder else _TOKENIZER.format(vocabulary=_vocabulary(text)),
        ]
    parts += [_encoder_part(path.parent, encoder, fresh=pretrains, notes=notes)]
    if pretrains:
        parts += [_PRETRAIN.format(budget=budget), _GOING_ON if encoder else _FROM_SCRATCH]
    if tasks or nothing_named:
        what = "the folder as it is" if encoder else "the untrained encoder"
        parts += [_FINETUNE, _ADAPT if encoder else "", _BASELINE.format(what=what) if pretrains else "", _TASKS]
        parts += [_task_part(file, path.parent, notes) for file in tasks] or [_ANY_TASK]
    return Draft("".join(parts), tuple(notes))


def _encoder_part(folder: Path, encoder: Path | None, *, fresh: bool, notes: list[str]) -> str:
    if encoder:
        return _GIVEN.format(folder=seen_from(folder, encoder))
    if fresh:
        return _FRESH
    notes.append("no encoder is named, and no text to train one on: fill in `encoder.folder`, or begin with --text")
    return _GIVEN.format(folder="FOLDER OF AN ENCODER")


def seen_from(folder: Path, path: Path) -> str:
    """Return a path as a recipe in a folder has to name it: a relative one resolves against the recipe's folder."""
    return str(path) if path.is_absolute() else os.path.relpath(path, folder)


def _text_part(paths: Sequence[Path], folder: Path, notes: list[str]) -> str:
    if not paths:
        return _PREPARE.format(sources=_ANY_TEXT)
    sources = []
    for path in paths:
        source = {"path": seen_from(folder, path)}
        if path.suffix in _TABLES:
            source["column"] = _text_column(path, notes)
        sources.append(source)
    return _PREPARE.format(sources=_indented(sources, 4))


def _text_column(path: Path, notes: list[str]) -> str:
    """Return the column of a table that looks most like text."""
    texts = [column for column in guess_task(path).columns if column.words > 1]
    if not texts:
        raise InputError(f"no column of {path} looks like text; write the source by hand, with its `column`")
    column = max(texts, key=lambda one: one.words)
    notes.append(f"{path}: the column {column.name} is taken for the text ({column.sentence()})")
    return column.name


def _vocabulary(paths: Sequence[Path]) -> int:
    """Return a size for the tokenizer by how much text there is; compressed files count as they are."""
    if not paths:
        return 16_000
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return next((pieces for most, pieces in _VOCABULARIES if size < most), _LARGEST)


def _task_part(path: Path, folder: Path, notes: list[str]) -> str:
    found = guess_task(path)
    if not found.text or found.label is None:
        lacks = " and ".join([*([] if found.text else ["text"]), *([] if found.label else ["label"])])
        raise InputError(f"no column of {path} looks like {lacks}; see `bertwright tasks --guess {path}`")
    notes.append(f"{path}: {_said(found)}; this is a guess, see that it is right")
    notes += [f"{path}: {note}" for note in found.notes]
    sets = {name: seen_from(folder, file) for name, file in _sets_beside(path).items()}
    if not sets:
        sets = {"dev": "FILE TO SCORE ON"}
        notes.append(f"{path}: no dev or test file stands beside it; fill in `sets` of the task")
    (task,) = yaml.safe_load(found.recipe())["tasks"]
    stem = path.stem.removesuffix(".jsonl")
    name = path.parent.resolve().name if stem.lower().startswith("train") else stem
    return _indented([{**task, "name": _as_name(name), "train": seen_from(folder, path), "sets": sets}], 2) + "\n"


def _said(found: Guess) -> str:
    more = f" and {len(found.counts) - _NAMED_LABELS} more" if len(found.counts) > _NAMED_LABELS else ""
    labels = f", labels {', '.join(list(found.counts)[:_NAMED_LABELS])}{more}" if found.counts else ""
    return f"{found.kind}, text {', '.join(found.text)}, label {found.label}{labels}"


def _sets_beside(path: Path) -> dict[str, Path]:
    """Return files to score on in a training file's folder: dev, valid, test, by name."""
    found: dict[str, Path] = {}
    for name in _TO_SCORE_ON:
        for suffix in _TABLES:
            beside = path.with_name(f"{name}{suffix}")
            if beside != path and beside.is_file():
                found.setdefault("test" if name == "test" else "dev", beside)
    return found


def _as_name(text: str) -> str:
    kept = "".join(sign if (sign.isalnum() and sign.isascii()) or sign in "_.-" else "-" for sign in text)
    return kept.strip("-._") or "task"


def _indented(items: list[dict[str, Any]], by: int) -> str:
    text = yaml.safe_dump(items, sort_keys=False, allow_unicode=True, width=200).rstrip("\n")
    return "\n".join(" " * by + line for line in text.splitlines())

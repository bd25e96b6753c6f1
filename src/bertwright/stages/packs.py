"""Packs as stages leave and read them: beside each lies a note of the encoder that it belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright import files, pack
from bertwright.bias_terms import names_in
from bertwright.encoder import families, packed
from bertwright.encoder.models import Classifier
from bertwright.errors import InputError
from bertwright.pack import Pack, PackTask
from bertwright.pack_card import Data, PackCard
from bertwright.stages.work import PACK, Work
from bertwright.text.tokenizer import Tokenizer

_ENCODER = "encoder.json"


def write_pack(
    work: Work,
    options: Mapping[str, Any],
    task: Mapping[str, Any],
    names: tuple[str, ...],
    model: Classifier,
    *,
    rows: int,
) -> int:
    """Write what a run changed in its encoder by so many training ``rows``, and return the bytes of it.

    ``task`` is as in ``task.json``, with the task's name as ``task``.
    """
    about = {"name": task["task"], **{name: value for name, value in task.items() if name != "task"}}
    terms, layers = _terms(work, options)
    made = packed.make_pack(
        families.load(work.inputs["encoder"]),
        model.state_dict(),
        tokenizer=Tokenizer.load(work.inputs["tokenizer"]).identity(),
        task=PackTask(**{**about, "text": tuple(task["text"]), "labels": names}),
        method=options["trainable"],
        terms=terms,
        layers=layers,
        dtype=options["pack"],
        recipe=work.identity,
    )
    card = PackCard(work.license, (Data(work.paths["train"].name, "training", rows),), settings_told(options))
    return place(work.folder / PACK, replace(made, card=card), work.inputs["encoder"])


def settings_told(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that its card tells."""
    keys = ("epochs", "batch", "learning_rate", "schedule", "warmup", "weight_decay", "max_length", "seed")
    loss = {f"loss_{key}": value for key, value in options.get("loss", {}).items()}
    return {**{key: options[key] for key in keys if key in options}, **loss}


def _terms(work: Work, options: Mapping[str, Any]) -> tuple[str | None, tuple[int, int] | None]:
    """Return the choice of terms that a run's pack holds: its own and, where it started from a pack, that one's too."""
    layers = tuple(options["layers"]) if options["layers"] else None
    own = None if options["trainable"] == "head" else (options["terms"], layers)
    before = pack.read(work.inputs["before"] / PACK).method if "before" in work.inputs else None
    found = [own] if own else []
    found += [(before.terms, before.layers)] if before is not None and before.terms is not None else []
    if len(set(found)) < 2:
        return found[0] if found else (None, None)
    return "+".join(dict.fromkeys(name for terms, _ in found for name in names_in(terms))), None


def place(path: Path, made: Pack, encoder: Path) -> int:
    """Write a pack and, beside it, where its encoder is; return the pack's bytes."""
    pack.write(path, made)
    # Inside a store ways are relative, so that it can be moved.
    own = path.parent.resolve()
    inside = next((one for one in own.parents if one.name == "stages" and encoder.resolve().is_relative_to(one)), None)
    where = os.path.relpath(encoder.resolve(), own) if inside else str(encoder.resolve())
    files.write_json(path.parent / _ENCODER, {"encoder": where})
    return path.stat().st_size


def encoder_of(path: Path) -> Path:
    """Return the folder of a pack's encoder, as the note beside it says; ``InputError`` asks for it."""
    note = path.resolve().parent / _ENCODER
    if note.is_file():
        try:
            folder = Path(note.parent, files.read_json(note)["encoder"]).resolve()
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{note} is no note of an encoder ({type(error).__name__}: {error}); give --encoder FOLDER"
            ) from error
        if (folder / "config.json").is_file():
            return folder
        raise InputError(f"{path}: its encoder was at {folder}, which is no model folder now; give --encoder FOLDER")
    raise InputError(f"{path}: nothing beside it says where its encoder is; give --encoder FOLDER")


def with_pack(path: Path, encoder: Path) -> tuple[Classifier, Pack, Tokenizer]:
    """Return the classifier that a pack makes of its encoder, fp32, the pack, and the tokenizer."""
    found, tokenizer = pack.read(path), Tokenizer.load(encoder)
    return packed.fold(families.load(encoder), found, tokenizer=tokenizer.identity()), found, tokenizer

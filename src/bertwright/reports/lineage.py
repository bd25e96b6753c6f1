"""What a model came from: the records of the stages before it, and what a card tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertwright import files, store
from bertwright.reports.words import bytes_text, count_text, large_text, plural

_ROLES = ("run", "encoder", "before", "rows", "start", "like", "given")
_ENCODERS = {"pretrain": "pretrained here", "initialise": "drawn, not pretrained", "biases": "given"}


def ancestors(inputs: Mapping[str, Path]) -> Iterator[Mapping[str, Any]]:
    """Yield the records of the stages that fill these roles and of those before them, the nearest first.

    A folder of the user's has no record, and is left out.
    """
    for folder in (inputs[role] for role in _ROLES if role in inputs):
        stage = next((one for one in (folder, folder.parent) if (one / store.RECORD).is_file()), None)
        if stage is None:
            continue
        record = files.read_json(stage / store.RECORD)
        yield record
        stages, entries = stage.resolve().parent, record["parts"]["inputs"].items()
        there = {role: next(stages.glob(f"*-{one['identity']}"), None) for role, one in entries if one["stage"]}
        yield from ancestors({role: path for role, path in there.items() if path is not None})


def pretraining_text(before: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield name (without folders), use and size of each source that the encoder was pretrained on."""
    for record in before:
        for one in record["results"].get("sources", ()) if record["kind"] == "prepare" else ():
            size = f"{plural(one['documents'], 'document')}, {bytes_text(one['bytes'])}"
            yield Path(str(one["path"])).name, "pretraining", f"{size}, {count_text(one['tokens'])} tokens"


def encoder_of(before: Sequence[Mapping[str, Any]], given: str) -> str:
    """Say which encoder a classifier began from."""
    for record in before:
        if record["kind"] in _ENCODERS:
            return f"{shape_text(record['results'])}, {_ENCODERS[record['kind']]}, {record['identity'][:12]}"
    return f"given: {given}" if given else "given"


def shape_text(results: Mapping[str, Any]) -> str:
    """Return family, depth, width and size of an encoder that a stage made."""
    shape = results["shape"]
    size = f"{plural(shape['layers'], 'layer')} x {shape['width']}, {large_text(results['parameters'])} parameters"
    return f"{results['family']}, {size}"


def family_of(before: Sequence[Mapping[str, Any]]) -> str:
    """Return the family of the encoder, where a stage made it."""
    return next((str(one["results"]["family"]) for one in before if "family" in one["results"]), "encoder")


def given_name(inputs: Mapping[str, Path]) -> str:
    """Return the name of the folder of the user's that a model began from, or nothing."""
    folders = (inputs[role] for role in ("start", "given", "like", "encoder") if role in inputs)
    mine = (one for one in folders if not any((place / store.RECORD).is_file() for place in (one, one.parent)))
    return next((one.name for one in mine), "")

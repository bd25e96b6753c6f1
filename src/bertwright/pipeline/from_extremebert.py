"""A configuration of ExtremeBERT as a recipe, with a word about each key that has no equal.

Its keys, their defaults and what its code does with them: ``get_default_config`` of its ``main.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bertwright.errors import InputError
from bertwright.pipeline.new_recipe import Draft, seen_from
from bertwright.recipe import yaml_text

Get = Callable[[str, str, Any], Any]
_KEYS: dict[str, frozenset[str]] = {
    "SYSTEM": frozenset({"NUM_GPUS", "MAX_MEMORY_IN_GB"}),
    "WANDB": frozenset({"API_KEY"}),
    "DATASET": frozenset(
        {"ENABLED", "ID", "HUGGINGFACE_DATASETS", "CUSTOMIZED_DATASETS", "TMP_DIR", "OUTPUT_DIR", "LOG_DIR"}
    ),
    "PRETRAIN": frozenset({"ENABLED", "OPTIMIZER", "NUM_STEPS", "LEARNING_RATE", "ID"}),
    "FINETUNE": frozenset({"ENABLED", "MULTIPROCESS_GPU_LIST"}),
    "RESULT_COLLECTION": frozenset({"ENABLED"}),
    "TOKENIZER": frozenset({"NAME_OR_PATH"}),
}
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "vanilla-sgd": {"optimizer": "sgd", "momentum": 0.0},
    "sgd-momentum": {"optimizer": "sgd"},
}
# What stands for a key that is left out.
_STEPS, _RATE, _GPUS, _MEMORY = 23_000, 1e-3, 4, 16
# MNLI first: RTE, MRPC and STS-B start from its run.
_TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte", "wnli")
_GLUE = "glue"
_LARGEST = 1 << 63  # no number of a configuration; Python shows none of thousands of digits


def from_extremebert(path: Path, *, beside: Path) -> Draft:
    """Return a configuration's recipe, to stand in the folder ``beside``; ``InputError`` where the file is none."""
    config = _read(path)
    notes = [f"{section}.{key} is no key of ExtremeBERT; it was left out" for section, key in _unknown(config)]

    def get(section: str, key: str, usual: Any) -> Any:
        return (config.get(section) or {}).get(key, usual)

    recipe: dict[str, Any] = {"preset": "extremebert-base"}
    recipe["system"] = _system(get, notes)
    if get("DATASET", "ENABLED", True):
        recipe["prepare"] = {"sources": _sources(get, path.parent, beside, notes)}
        recipe |= _tokenizer(get, path.parent, beside, notes)
    else:
        recipe["prepare"] = {"ready": f"data/{get('DATASET', 'ID', None) or 'FOLDER'}"}
        notes.append(
            "DATASET.ENABLED is off: `prepare.ready` wants a folder that `bertwright prepare` wrote elsewhere, "
            "and ExtremeBERT's own HDF5 shards are not read"
        )
    if get("PRETRAIN", "ENABLED", True):
        recipe["pretrain"] = _pretraining(get)
    else:
        notes.append("PRETRAIN.ENABLED is off: for text alone run `bertwright prepare`; `pretrain` was left out")
    if get("FINETUNE", "ENABLED", True):
        recipe["finetune"] = {"protocol": "extremebert"}
        recipe["tasks"] = [{"name": task, "known": task, "folder": f"{_GLUE}/{task}"} for task in _TASKS]
        notes.append(
            f"FINETUNE: GLUE is not fetched; put its files into {_GLUE}/TASK, or change the folders of `tasks`"
        )
    if get("RESULT_COLLECTION", "ENABLED", True):
        notes.append("RESULT_COLLECTION: the zip is a command of its own, `bertwright submit RECIPE -o glue.zip`")
    notes += _without_equal(get)
    told = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=200)
    top = f"# From ExtremeBERT's {path.name}. What has no equal was told when this was written.\n"
    return Draft(top + told, tuple(notes))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml_text.value(yaml_text.read_text(path))
    except (OSError, UnicodeDecodeError, yaml_text.Refused) as error:
        raise InputError(f"{path} cannot be read as YAML ({error}); name a configuration of ExtremeBERT") from error
    if not isinstance(found, dict) or not set(found) & set(_KEYS):
        raise InputError(
            f"{path} is no configuration of ExtremeBERT: found {_shown(found)}, and its sections are {', '.join(_KEYS)}"
        )
    for section, value in found.items():
        if not isinstance(value, dict | None):
            # What it holds is not shown: under WANDB it may be a key.
            raise InputError(
                f"{path}: {section} has to be a section with keys, found {type(value).__name__}; "
                "write `KEY: value` below it"
            )
        for key, one in (value or {}).items():
            if isinstance(one, int) and abs(one) >= _LARGEST:
                raise InputError(f"{path}: {section}.{key} is a number of {one.bit_length()} bits; write a smaller one")
    return found


def _shown(found: Any) -> str:
    return f"the keys {', '.join(map(str, found)) or 'none'}" if isinstance(found, dict) else type(found).__name__


def _unknown(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (section, key)
        for section, keys in config.items()
        for key in keys or ([] if section in _KEYS else ["(nothing)"])
        if key not in _KEYS.get(section, ())
    ]


def _system(get: Get, notes: list[str]) -> dict[str, Any]:
    system: dict[str, Any] = {"devices": _whole(get("SYSTEM", "NUM_GPUS", _GPUS))}
    memory = get("SYSTEM", "MAX_MEMORY_IN_GB", _MEMORY)
    if memory is not None:
        system["memory"] = f"{memory} GB"
        notes.append(
            "SYSTEM.MAX_MEMORY_IN_GB bounded the splitting of sentences alone; `system.memory` is for every stage"
        )
    groups = _listed(get, "FINETUNE", "MULTIPROCESS_GPU_LIST")
    if groups:
        system["runs"] = len(groups)
        if any(isinstance(group, list) and len(group) > 1 for group in groups):
            notes.append(
                "FINETUNE.MULTIPROCESS_GPU_LIST gives some runs several GPUs; here each of `system.runs` has one"
            )
    return system


def _whole(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise InputError(f"SYSTEM.NUM_GPUS: found {value!r}; it has to be a whole number from 1")
    return value


def _listed(get: Get, section: str, key: str) -> list[Any]:
    """Return the entries of a key that holds a list, none where it is left out."""
    found = get(section, key, None)
    if not isinstance(found, list | None):
        raise InputError(f"{section}.{key}: found {found!r}; it has to be a list, such as [a, b]")
    return found or []


def _sources(get: Get, folder: Path, beside: Path, notes: list[str]) -> list[dict[str, str]]:
    sources = []
    for entry in _listed(get, "DATASET", "HUGGINGFACE_DATASETS"):
        parts = entry if isinstance(entry, list) else [entry]
        if not parts or not all(isinstance(one, str | None) for one in parts) or not parts[0]:
            raise InputError(
                f"DATASET.HUGGINGFACE_DATASETS: found {entry!r}; each has to be a name, or a list of name and config"
            )
        name, config = [*parts, None][:2]
        sources.append({"hub": str(name), **({"config": str(config)} if config else {})})
        notes.append(
            f"DATASET.HUGGINGFACE_DATASETS {name}: fetched from the hub, the one thing that asks for a network; names "
            "without an owner may have moved"
        )
    for entry in _listed(get, "DATASET", "CUSTOMIZED_DATASETS"):
        try:
            where = Path(str(entry)).expanduser()
        except RuntimeError as error:
            raise InputError(f"DATASET.CUSTOMIZED_DATASETS: found {entry!r} ({error}); name a folder") from error
        sources.append({"path": seen_from(beside, folder / where / "*.txt")})
    if not sources:
        sources = [{"path": "texts/"}]
        notes.append("DATASET names no text; fill in `prepare.sources`")
    return sources


def _tokenizer(get: Get, folder: Path, beside: Path, notes: list[str]) -> dict[str, Any]:
    name = str(get("TOKENIZER", "NAME_OR_PATH", "bert-large-uncased"))
    try:
        there = (folder / name / "tokenizer.json").is_file()
    except OSError:  # a name longer than the system looks for
        there = False
    if there:
        return {"tokenizer": {"folder": seen_from(beside, folder / name)}}
    lowercase = "uncased" in name or "cased" not in name
    notes.append(
        f"TOKENIZER.NAME_OR_PATH {name} is no folder with tokenizer.json: a WordPiece of that kind is trained on "
        "the text; for that very one, put its folder into `tokenizer.folder`"
    )
    return {} if lowercase else {"tokenizer": {"lowercase": False}}


def _pretraining(get: Get) -> dict[str, Any]:
    name = str(get("PRETRAIN", "OPTIMIZER", "adamw"))
    if name not in _OPTIMIZERS:
        raise InputError(f"PRETRAIN.OPTIMIZER: found {name!r}; expected one of {', '.join(_OPTIMIZERS)}")
    steps, rate = get("PRETRAIN", "NUM_STEPS", _STEPS), get("PRETRAIN", "LEARNING_RATE", _RATE)
    try:
        return {"budget": f"{int(steps)} steps", "learning_rate": float(rate), **_OPTIMIZERS[name]}
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"PRETRAIN: found {steps!r} steps and the rate {rate!r}; both have to be numbers") from error


def _without_equal(get: Get) -> list[str]:
    """Say what was left out, and what stands in its place."""
    notes = []
    if get("WANDB", "API_KEY", None):
        notes.append(
            "WANDB.API_KEY was not copied: nothing is sent anywhere unless `trackers: [wandb]` stands under `system`, "
            "with the key in the environment"
        )
    ids = [f"{section}.ID" for section in ("DATASET", "PRETRAIN") if get(section, "ID", None)]
    if ids:
        notes.append(f"{' and '.join(ids)} have no equal: finished stages are found by what they were made of")
    folders = [key for key in ("TMP_DIR", "OUTPUT_DIR", "LOG_DIR") if get("DATASET", key, None)]
    if folders:
        notes.append(f"DATASET.{', '.join(folders)} have no equal: all lies in the recipe's `store`")
    return notes

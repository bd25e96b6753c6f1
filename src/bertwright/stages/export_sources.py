"""What an export is made from: an encoder, and packs by name; a tuned model is its encoder and one pack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright import pack as packs
from bertwright.encoder import families
from bertwright.encoder.families import Loaded
from bertwright.encoder.packed import backbone_of
from bertwright.errors import InputError
from bertwright.pack import SUFFIX, Pack, PackTask
from bertwright.pack_pairs import check_fit
from bertwright.stages.exiting import read_choice, read_ramps, with_choice
from bertwright.stages.fine_tuned import TASK, find
from bertwright.stages.packs import encoder_of
from bertwright.stages.work import RAMPS
from bertwright.text.tokenizer import Tokenizer

MODEL = "model"
_KINDS = {problem: kind for kind, problem in families.PROBLEMS.items()}
_NAME = re.compile(r"[\w][\w. -]*")
_AS_A_RUN_LEAVES_IT = re.compile(r"seed-\d+")


@dataclass(frozen=True)
class Gathered:
    """An encoder, its tokenizer, and the packs that go with it by name."""

    loaded: Loaded
    tokenizer: Tokenizer
    packs: dict[str, Pack]


def gather(sources: Sequence[Path], encoder: Path | None = None, names: Mapping[Path, str] | None = None) -> Gathered:
    """Return the encoder and the packs that folders and files name.

    A fine-tuned model is its encoder and one pack, ``model``. ``InputError`` where they do not make one export.
    """
    paths: dict[str, Path] = {}
    folders: list[Path] = [] if encoder is None else [encoder]
    for source in sources:
        if source.suffix != SUFFIX and (source / "config.json").is_file():
            folders.append(source)
            continue
        model, task = find(source)
        if model.suffix != SUFFIX:
            folders.append(model)
        else:
            # A dozen of a run's packs are all called seed-0; their tasks tell them apart.
            own = source.suffix == SUFFIX and not _AS_A_RUN_LEAVES_IT.fullmatch(source.stem)
            name = (names or {}).get(source, source.stem if own else task.task)
            if not _NAME.fullmatch(name):
                raise InputError(f"{name!r} cannot be a pack's name: letters, digits, dots and dashes make one")
            if name in paths:
                raise InputError(f"{source} and {paths[name]} are both called {name}; write OTHER-NAME={source}")
            paths[name] = model
    folders = list(dict.fromkeys(folders))
    if len(folders) > 1:
        named = ", ".join(map(str, folders))
        raise InputError(f"an export holds one encoder, and {len(folders)} were named: {named}; export each by itself")
    folder = folders[0] if folders else encoder_of(next(iter(paths.values())))
    loaded, tokenizer = families.load(folder), Tokenizer.load(folder)
    found = {name: packs.read(path) for name, path in paths.items()}
    backbone = backbone_of(loaded, tokenizer.identity())
    for pack in found.values():
        check_fit(pack, backbone)
    if loaded.classifier is not None and not found:
        found[MODEL] = _model_pack(folder, loaded, tokenizer)
    return Gathered(loaded, tokenizer, found)


def _model_pack(folder: Path, loaded: Loaded, tokenizer: Tokenizer) -> Pack:
    """Return a fine-tuned model's output layer, ramps and policy as a pack: all else of it is the encoder's own."""
    head = loaded.classifier
    if head is None or loaded.labels is None:
        raise InputError(f"{folder}: the model has no labels; expected the folder of a fine-tuned run")
    output = {f"output.{name}": value.detach().numpy() for name, value in head.output.state_dict().items()}
    if (folder / TASK).is_file():
        told = asdict(find(folder)[1])
        task = PackTask(name=told.pop("task"), labels=loaded.labels, **told)
    else:
        problem = files.read_json(folder / "config.json").get("problem_type")
        kind: Any = _KINDS.get(problem, "regression" if len(loaded.labels) == 1 else "classification")
        task = PackTask(MODEL, kind, ("text",), loaded.labels, loaded.config.positions)
    made = packs.make(
        backbone=backbone_of(loaded, tokenizer.identity()),
        task=task,
        method="all",
        terms=None,
        biases={},
        head=output,
        of=sum(parameter.numel() for parameter in loaded.encoder.parameters()),
        dtype="fp32",
    )
    if not (folder / RAMPS).is_file():
        return made
    return with_choice(made, read_choice(folder) or {"policy": "never"}, read_ramps(folder, loaded.config))

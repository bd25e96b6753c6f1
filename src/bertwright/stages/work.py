"""What a stage is given: plain values, ready inputs, a folder to fill and somebody to tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bertwright import store
from bertwright.processes import Tell, silent

MODEL = "model"
"""Folder of a stage's model."""
PACK = "task.pack"
"""The file of a run that changed little of its encoder."""
RAMPS = "ramps.safetensors"
"""The file of classifiers after inner layers."""

SIGNALS = "signals.parquet"
"""The file of an expert's signals."""
EXPERT_OF = "expert "
"""Begin of the role of an expert that is measured with a task's runs; its encoder and name follow."""
LEARNT_FROM = "rows learnt from"
"""The set of training rows that are scored too; no file's name in a recipe."""
SEEN_ROWS = 2000
"""Training rows that are scored at most."""


def model_at(share: float) -> str:
    """Return the folder of the encoder that is saved at a share of the budget."""
    return f"{MODEL}-{100 * share:g}"


@dataclass(frozen=True)
class Machine:
    """The part of the recipe that says where to work; it changes speed, and the precision."""

    threads: int
    devices: int = 1
    device: str = "auto"
    precision: str = "auto"
    memory: int | None = None
    fixed_threads: bool = False
    probe: bool = True
    attention: str = "auto"
    compile: bool = False
    activation_checkpointing: bool = False
    sharding: bool = False


@dataclass(frozen=True)
class Work:
    """One stage's job.

    ``options`` are in the stage's identity, ``settings`` are not. ``inputs`` are folders by role, ``paths`` the user's
    files by label. The stage writes what is to be kept into ``folder`` and what only a restart needs into ``scratch``.
    ``tell`` hears the ``share`` done (0 to 1) and any figures, by name.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    paths: Mapping[str, Path]
    folder: Path
    machine: Machine
    identity: str = ""
    license: str = "unknown"
    """What the recipe says of who may use what comes of it; it stands in cards and changes nothing else."""
    tell: Tell = field(default=silent, compare=False)

    @property
    def scratch(self) -> Path:
        """Where checkpoints go; removed when the stage is sealed."""
        return self.folder / store.SCRATCH

    def as_json(self) -> dict[str, Any]:
        """Return the work as plain values, for another process."""
        content = asdict(replace(self, tell=silent))
        del content["tell"]
        for name in ("inputs", "paths"):
            content[name] = {key: str(path) for key, path in content[name].items()}
        return {**content, "folder": str(self.folder)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], tell: Tell = silent) -> Work:
        """Return the work that ``as_json`` described."""
        folders = {name: {key: Path(path) for key, path in content[name].items()} for name in ("inputs", "paths")}
        places = {**folders, "folder": Path(content["folder"]), "machine": Machine(**content["machine"])}
        return cls(**{**content, **places}, tell=tell)

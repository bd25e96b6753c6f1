"""Checkpoints: all that survives a stop, whole or not at all. Safetensors and JSON, never pickle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bertwright import files
from bertwright.training.order import Place

_KEEP = 2
_FORMATS = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}
_TENSORS, _STATE = "tensors.safetensors", "state.json"


@dataclass
class State:
    """Where a training stands. Random numbers are drawn by (seed, step), so no generator has to be kept.

    ``step``, ``row`` and ``share`` are the place in the data; ``seconds`` counts work, not interruptions. ``scale`` is
    what the loss is multiplied by in fp16, and ``made_in_a_row`` the updates since it last changed.
    """

    step: int = 0
    row: int = 0
    share: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    interruptions: int = 0
    loss_sum: float = 0.0
    """Training losses since the last line about them, and how many; then that line's mean."""
    loss_steps: int = 0
    mean_loss: float | None = None
    first: dict[str, float] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    gave_up: bool = False
    scale: float = 1.0
    made_in_a_row: int = 0

    @property
    def updates(self) -> int:
        """Steps that made an update; what was skipped does not move a schedule."""
        return self.step - self.skipped

    @property
    def place(self) -> Place:
        """Where the next step stands in the data."""
        return Place(self.step, self.row, self.share)


def save(folder: Path, tensors: dict[str, Tensor], state: State) -> Path:
    """Write ``checkpoint-<step>`` into a folder and remove all but the newest two."""
    path = folder / f"checkpoint-{state.step:09d}"
    with files.writing_folder(path) as partial:
        _fill(partial / _TENSORS, tensors)
        content = {**asdict(state), "checksum": files.checksum(partial / _TENSORS)}
        files.fill(partial / _STATE, json.dumps(content, allow_nan=False).encode())
    for old in list(_newest_first(folder))[_KEEP:]:
        files.remove(old)
    return path


def _fill(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file one tensor at a time.

    The library's own ``save`` makes all of it in memory, twice, beside the training's; its ``save_file`` goes past
    ``door`` to a file that others may not read, and tells of a full disk by an error without a number.
    """
    # As the library has it: wide numbers first, so that each tensor lies at a multiple of its own width.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = dict[str, Any](), 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _FORMATS[tensors[name].dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with files.filling(path) as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            stream.write(flat.view(torch.uint8).numpy().data)


def latest(folder: Path) -> tuple[dict[str, Tensor], State] | None:
    """Return the newest checkpoint that is whole and unchanged, or ``None``."""
    for path in _newest_first(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            content = files.read_json(path / _STATE)
            if content.pop("checksum") == files.checksum(path / _TENSORS):
                return safetensors.torch.load_file(path / _TENSORS), State(**content)
    return None


def _newest_first(folder: Path) -> Iterator[Path]:
    names = (path for path in folder.glob("checkpoint-*") if not path.name.endswith(files.TEMPORARY))
    return iter(sorted(names, reverse=True))

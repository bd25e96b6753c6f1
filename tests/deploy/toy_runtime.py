"""A small honest engine with the runtime's face: bytes counted, mixed by a few layers, read by a pack's head."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertwright.deploy.exit_watch import calibration_exits
from bertwright.deploy.rows import Row
from bertwright.errors import DataError, InputError
from bertwright.pack import Backbone, Pack, PackTask, make, read, write

LAYERS, WIDTH = 4, 16
SHAPE = {"family": "bert", "layers": LAYERS, "width": WIDTH, "heads": 2, "inner": 32}
BACKBONE = Backbone("b" * 64, "t" * 32, "bert", SHAPE, True)
_MIX = np.random.default_rng(7).normal(0, 0.6, (LAYERS, WIDTH, WIDTH))
_FEATURES = np.random.default_rng(8).normal(0, 1, (256, WIDTH))


def toy_pack(seed: int = 0, *, labels: Sequence[str] = ("no", "yes"), columns: int = 1, **choices: Any) -> Pack:
    """A pack of drawn biases and head for the toy engine's backbone."""
    draw = np.random.default_rng(seed)
    kind = choices.pop("kind", "classification")
    task = PackTask(f"task {seed}", kind, ("text", "other")[:columns], tuple(labels), 64)
    return make(
        backbone=choices.pop("backbone", BACKBONE),
        task=task,
        method="bitfit",
        terms="all",
        biases={f"layers.{layer}.output": draw.normal(0, 1, WIDTH) for layer in range(LAYERS)},
        head={"output.weight": draw.normal(0, 1, (len(labels), WIDTH)), "output.bias": np.zeros(len(labels))},
        of=1000,
        **choices,
    )


def write_pack(path: Path, seed: int = 0, **choices: Any) -> Path:
    """Write a toy pack's file."""
    write(path, toy_pack(seed, **choices))
    return path


@dataclass(frozen=True)
class Answer:
    """As the runtime's."""

    label: Any
    probabilities: dict[str, float] | None
    logits: tuple[float, ...]
    layer: int
    truncated: bool
    pack: str


@dataclass(frozen=True)
class Encoded:
    """As the runtime's: tokens, and the pack as it was when the row came."""

    ids: tuple[int, ...]
    name: str
    pack: Pack
    truncated: bool

    @property
    def tokens(self) -> int:
        """How many."""
        return len(self.ids)


@dataclass(frozen=True)
class PackInfo:
    """As the runtime's."""

    kind: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    policy: str | None
    hash: str
    calibrated: Mapping[int, int]


class ToyFlight:
    """Rows that leave after the layer that their length names, so that a test knows where."""

    def __init__(self, rows: Sequence[Encoded], pause: float, log: list[tuple[int, ...]]) -> None:
        self.waiting = dict(enumerate(rows))
        self.states = {place: _FEATURES[list(row.ids)].mean(axis=0) for place, row in self.waiting.items()}
        self.layer, self.finished, self._pause, self._log = 0, [], pause, log
        self._log.append(tuple(len(row.ids) for row in rows))

    def step(self) -> None:
        """Run one layer."""
        time.sleep(self._pause * len(self.waiting))
        self.finished = []
        for place, row in list(self.waiting.items()):
            bias = row.pack.biases[f"layers.{self.layer}.output"].astype(np.float64)
            self.states[place] = np.tanh(self.states[place] @ _MIX[self.layer] + bias)
            if self.layer + 1 == leaves(row):
                self.finished.append((place, answered(row, self.states[place], self.layer + 1)))
                del self.waiting[place]
        self.layer += 1


def leaves(row: Encoded) -> int:
    """The layer after which a row leaves."""
    return 1 + len(row.ids) % LAYERS


def answered(row: Encoded, state: np.ndarray, layer: int) -> Answer:
    """A head's answer."""
    logits = row.pack.head["output.weight"].astype(np.float64) @ state
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    labels = row.pack.task.labels
    given = dict(zip(labels, map(float, shares), strict=True))
    return Answer(labels[int(logits.argmax())], given, tuple(map(float, logits)), layer, row.truncated, row.name)


class ToyRuntime:
    """The engine. ``pause`` seconds a row and layer; ``begun`` are the lengths of the rows of each flight."""

    def __init__(self, pause: float = 0.0) -> None:
        self._packs: dict[str, tuple[Pack, PackInfo]] = {}
        self.pause, self.begun = pause, []

    @property
    def packs(self) -> Mapping[str, PackInfo]:
        """Served packs."""
        return {name: info for name, (_, info) in self._packs.items()}

    def add(self, pack: Path | Pack, name: str) -> str:
        """Serve a pack."""
        content = pack if isinstance(pack, Pack) else read(pack)
        if content.backbone != BACKBONE:
            raise DataError(f"{pack}: made for the encoder {content.backbone.hash[:12]}, and this is {'b' * 12}")
        digest = hashlib.sha256(content.head["output.weight"].tobytes()).hexdigest()
        task, policy = content.task, (content.policy or {}).get("policy")
        info = PackInfo(task.kind, task.labels, task.text, policy, digest, calibration_exits(content))
        self._packs = {**self._packs, name: (content, info)}
        return name

    def remove(self, name: str) -> None:
        """Serve a pack no longer."""
        self._packs = {key: value for key, value in self._packs.items() if key != name}

    def encode(self, row: Any) -> Encoded:
        """Bytes with a sign at either end, as a tokenizer has; cut to 64."""
        if row.pack not in self._packs:
            raise InputError(f"the pack {row.pack!r} is not here")
        pack = self._packs[row.pack][0]
        ids = [1, *"\x02".join(row.texts).encode(), 2]
        return Encoded(tuple(ids[:64]), row.pack, pack, len(ids) > 64)

    def begin(self, rows: Sequence[Encoded]) -> ToyFlight:
        """Begin a batch."""
        return ToyFlight(rows, self.pause, self.begun)

    def alone(self, text: str, pack: str) -> Answer:
        """Answer one text by itself: what the server's answer has to be."""
        flight = self.begin([self.encode(Row((text,), pack))])
        while not flight.finished:
            flight.step()
        return flight.finished[0][1]


def opened(folder: Path, threads: int) -> ToyRuntime:
    """An engine as a server process opens it; the folder's name is its pause."""
    return ToyRuntime(float(str(folder)) if threads else 0.0)

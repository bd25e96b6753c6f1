"""Packs made ready to serve: each one's biases in one vector, its head, ramps and policy. Entries never change.

Adding, replacing and removing exchange an entry in a new table, so that a batch in flight keeps what it began with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import xxhash

from bertwright.deploy.exit_watch import calibration_exits
from bertwright.deploy.heads import Head, head_of
from bertwright.deploy.layout import Layout, Slice
from bertwright.deploy.ramps import ramps_of
from bertwright.encoder.config import EncoderConfig
from bertwright.errors import DataError, InputError
from bertwright.exits.policies import Policy, parse
from bertwright.pack import Backbone, Pack, PackTask, to_bytes
from bertwright.pack_pairs import check_fit
from bertwright.tasks.texts import columns_of

BIASES, FINAL_NORM, HEAD = "biases", "final_norm.weight", "head/"
TUNED = "tuned"
"""How a row names its pack's own policy."""
_AGAIN = "copy the folder once more, or export it again"


@dataclass(frozen=True)
class PackInfo:
    """What a pack answers: labels, kind, the columns of text that a row has, when rows leave, and its file's hash.

    ``calibrated`` are the calibration rows that left after each layer, empty where there was no calibration.
    """

    labels: tuple[str, ...]
    kind: str
    columns: tuple[str, ...]
    policy: str
    hash: str
    max_length: int
    ramps: tuple[int, ...] = ()
    calibrated: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Entry:
    """A pack at work. ``flat`` holds all biases of a row (see ``Layout``); ``ramps`` are by the layers before them.

    ``final_norm`` is the bias of the norm behind the last layer, empty in families without one.
    """

    name: str
    task: PackTask
    info: PackInfo
    flat: np.ndarray
    final_norm: np.ndarray
    head: Head
    ramps: Mapping[int, Head]
    policy: Policy

    def biases(self, place: Slice) -> np.ndarray:
        """Return a part's biases, (1, S), without a copy."""
        return self.flat[None, place.start : place.stop]

    def leaving_by(self, text: str | None) -> Policy:
        """Return its own policy (``None``, ``tuned``), or the one that a text names.

        ``InputError`` where its ramps do not fit that.
        """
        if text is None or text == TUNED:
            return self.policy
        policy = parse(text, self.task.kind)
        if policy.thresholds:
            if not self.ramps:
                raise InputError(
                    f"exit policy {text!r}: pack {self.name} has no ramps, so that every row runs through all layers; "
                    "leave the policy out, or train ramps with `exits:` in the recipe"
                )
            scored = next(iter(self.ramps.values())).score is not None
            policy.check(len(self.ramps), len(self.task.labels), scored=scored)
        return policy


class Bank:
    """The encoder's own arrays, and how a pack becomes an entry."""

    def __init__(self, backbone: Backbone, arrays: Mapping[str, np.ndarray], cuts: frozenset[int]) -> None:
        self.backbone, self.layout = backbone, Layout(backbone)
        self._arrays = arrays
        self._cuts = cuts
        self._eps = EncoderConfig.from_dict(backbone.shape).norm_eps

    @classmethod
    def read(cls, path: Path, backbone: Backbone, cuts: frozenset[int]) -> Bank:
        """Read an exported folder's arrays; ``cuts`` are the layers (from 1) behind which rows can leave.

        ``DataError`` where the file is damaged, or its arrays are not those of the backbone.
        """
        try:
            arrays = safetensors.numpy.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: not a whole safetensors file ({error}); {_AGAIN}") from error
        bank = cls(backbone, arrays, cuts)
        width = int(backbone.shape["width"])
        wanted: dict[str, tuple[int, ...]] = {BIASES: (bank.layout.total,)}
        wanted |= {FINAL_NORM: (width,)} if bank.layout.of("final-norm") else {}
        wanted |= {f"{HEAD}dense.weight": (width, width)} if backbone.pooler else {}
        wanted |= {f"{HEAD}norm.weight": (width,)} if backbone.pooler and backbone.family == "modern" else {}
        for name in sorted(wanted.keys() | arrays.keys()):
            found = arrays.get(name)
            if found is None or found.shape != wanted.get(name) or found.dtype != np.float32:
                told = "is missing" if found is None else f"has shape {found.shape} in {found.dtype}"
                raise DataError(f"{path}: {name[:80]} {told}; expected {wanted.get(name, 'no such array')}; {_AGAIN}")
            if not np.isfinite(found).all():
                raise DataError(f"{path}: {name} holds a number that is not finite; {_AGAIN}")
        return bank

    @property
    def final_norm(self) -> np.ndarray | None:
        """Return the gain of the norm behind the last layer, of families that have one."""
        return self._arrays.get(FINAL_NORM)

    def entry(self, name: str, pack: Pack) -> Entry:
        """Return a pack ready to serve; ``DataError`` where it is for another encoder or tokenizer."""
        check_fit(pack, self.backbone)
        flat = self._arrays[BIASES].copy()
        for key, delta in pack.biases.items():
            place = self.layout.places[key]
            flat[place.start : place.stop] += delta
        flat.flags.writeable = False
        ramps = ramps_of(name, pack, eps=self._eps, cuts=self._cuts)
        policy = _policy(name, pack, ramps)
        columns = columns_of(pack.task.text)
        digest = xxhash.xxh3_128(to_bytes(pack)).hexdigest()
        info = PackInfo(
            *(pack.task.labels, pack.task.kind, columns, policy.text, digest, pack.task.max_length),
            ramps=tuple(ramps),
            calibrated=calibration_exits(pack),
        )
        final = self.layout.of("final-norm") or Slice(0, 0)
        return Entry(name, pack.task, info, flat, flat[final.start : final.stop], self._head(pack, flat), ramps, policy)

    def bare(self) -> Entry:
        """Return the encoder without a pack, for measuring how fast it is: every row is answered 0."""
        width = int(self.backbone.shape["width"])
        task = PackTask("bare", "regression", ("text",), ("number",), int(self.backbone.shape["positions"]))
        zeros = np.zeros((1, width), dtype=np.float32), np.zeros(1, dtype=np.float32)
        head, never = Head(self.backbone.family, self._eps, None, None, zeros), parse("never", "regression")
        flat, final = self._arrays[BIASES], self.layout.of("final-norm") or Slice(0, 0)
        info = PackInfo(task.labels, task.kind, task.text, never.text, "", task.max_length)
        return Entry("bare", task, info, flat, flat[final.start : final.stop], head, {}, never)

    def _head(self, pack: Pack, flat: np.ndarray) -> Head:
        """Return a pack's head: matrices that came with the encoder are shared, their biases are terms."""
        arrays: dict[str, np.ndarray] = {
            name.removeprefix(HEAD): value for name, value in self._arrays.items() if name.startswith(HEAD)
        }
        for term, name in (("pooler", "dense.bias"), ("pooler-norm", "norm.bias")):
            place = self.layout.of(term)
            if place is not None:
                arrays[name] = flat[place.start : place.stop]
        arrays |= {name: value.astype(np.float32) for name, value in pack.head.items()}
        return head_of(arrays, self.backbone.family, self._eps)


def _policy(name: str, pack: Pack, ramps: Mapping[int, Head]) -> Policy:
    """Return when a pack's rows leave: as its header says, else never."""
    told: Any = (pack.policy or {}).get("policy", "never")
    if not isinstance(told, str):
        raise DataError(f"pack {name}: the header's policy is {told!r}; expected a text such as entropy:0.2")
    policy = parse(told, pack.task.kind)
    if policy.thresholds and not ramps:
        raise DataError(f"pack {name}: the header's policy is {told}, and it has no ramps; train its ramps again")
    scored = any(ramp.score is not None for ramp in ramps.values())
    policy.check(len(ramps), len(pack.task.labels), scored=scored)
    return policy

"""Packs on a frozen encoder: making them, attaching and detaching, folding, and several in one batch.

Shapes: B batch, T positions, H width, C classes.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bertwright import pack as packs
from bertwright.bias_terms import POOLER, choose
from bertwright.encoder.biases import Place, locate, terms_in
from bertwright.encoder.families import Loaded
from bertwright.encoder.heads import ClassificationHead
from bertwright.encoder.models import Classifier
from bertwright.encoder.row_biases import RowEncoder
from bertwright.errors import InputError
from bertwright.pack import Backbone, Pack, PackTask, Score
from bertwright.pack_pairs import check_fit

_CPU = torch.device("cpu")


def fingerprint(loaded: Loaded) -> str:
    """Return a hash (64 hexadecimal digits) of an encoder as it was read: every tensor's name, shape and fp32 bytes.

    A head's dense layer that came with the encoder is part of it. ``InputError`` where it was brought to another
    precision since: that would be another encoder.
    """
    tensors = _tensors(loaded)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach()
        if value.dtype != torch.float32:
            raise InputError(f"the encoder was brought to {value.dtype}; take its hash as it was read, in fp32")
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def backbone_of(loaded: Loaded, tokenizer: str) -> Backbone:
    """Return what a pack's header says of its encoder; ``tokenizer`` is ``Tokenizer.identity()``."""
    config = loaded.config
    return Backbone(fingerprint(loaded), tokenizer, config.family, config.as_dict(), bool(loaded.head_layers))


def make_pack(
    loaded: Loaded,
    trained: Mapping[str, Tensor],
    *,
    tokenizer: str,
    task: PackTask,
    method: str,
    terms: str | None,
    layers: tuple[int, int] | None = None,
    dtype: str = "fp16",
    worked_in: torch.dtype = torch.float32,
    scores: Sequence[Score] = (),
    policy: dict[str, Any] | None = None,
    recipe: str = "",
) -> Pack:
    """Return what training changed as a pack.

    ``loaded`` is the encoder as it was read, ``trained`` the values of a ``Classifier`` trained on it, by name
    (``state_dict()``), chosen biases and head in fp32. The frozen rest may have been rounded to ``worked_in``; where it
    changed otherwise ``InputError`` says which tensor, because a pack could not give it back.
    """
    config, came = loaded.config, loaded.head_layers
    before = {_place(name): value for name, value in _tensors(loaded).items()}
    there = terms_in(config, pooler=bool(came))
    chosen = set(choose(there, terms, layers)) if terms is not None else set()
    places = {term: locate(term, config) for term in there}
    deltas = {}
    for term in there:
        old, new = (_slice(values, places[term]) for values in (before, trained))
        # A head that is trained whole changes the dense layer that came with the encoder.
        if term in chosen or (term.name in POOLER and not _same(old, new, worked_in)):
            deltas[term.key] = (new.double() - old.double()).numpy()
    _refuse_other_changes(before, trained, [places[term] for term in chosen], worked_in)
    named = {name.removeprefix("head."): value for name, value in trained.items() if name.startswith("head.")}
    head = {
        name: value.detach().float().cpu().numpy()
        for name, value in named.items()
        if f"head.{name}" not in before
        or (not name.endswith("bias") and not _same(before[f"head.{name}"], value.detach().cpu(), worked_in))
    }
    return packs.make(
        backbone=backbone_of(loaded, tokenizer),
        task=task,
        method=method,
        terms=terms,
        layers=layers,
        biases=deltas,
        head=head,
        of=sum(value.numel() for value in before.values()),
        dtype=dtype,
        scores=scores,
        policy=policy,
        recipe=recipe,
    )


def fold(loaded: Loaded, pack: Pack, *, tokenizer: str) -> Classifier:
    """Return an ordinary classifier, fp32, with the pack's biases written in; ``loaded`` is left as it is.

    A change of a key's bias is left out where softmax takes it away: it adds the same to all scores of a query. With
    RoPE (the modern family) it does not, and stays.
    """
    check_fit(pack, backbone_of(loaded, tokenizer))
    encoder = copy.deepcopy(loaded.encoder).eval()
    rotated = loaded.config.family == "modern"
    deltas = {key: value for key, value in pack.biases.items() if rotated or not key.endswith(".key")}
    came = {name: value.clone() for name, value in head_tensors(loaded).items()}
    model = Classifier(encoder, _head(pack, loaded, came, 1.0, _CPU, torch.float32)).eval()
    parameters = dict(encoder.named_parameters())
    with torch.no_grad():
        for term in pack.terms:
            if term.key in deltas and term.name not in POOLER:
                name, start, stop = locate(term, loaded.config)
                parameters[name.removeprefix("encoder.")][start:stop] += _tensor(deltas[term.key])
    return model


@dataclass(frozen=True)
class _Ready:
    """A pack prepared for swapping: all biases of the encoder, in one vector and as parameters, and its head."""

    flat: Tensor
    biases: tuple[nn.Parameter, ...]
    head: ClassificationHead
    labels: tuple[str, ...]


class Resident:
    """A frozen encoder with packs at hand: one in use, or several mixed in a batch. Not for two threads at once.

    The encoder of ``loaded`` is taken over: it goes to ``device`` and ``dtype``. Its own biases are never written to.
    """

    def __init__(
        self, loaded: Loaded, *, tokenizer: str, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
    ) -> None:
        self.backbone = backbone_of(loaded, tokenizer)
        self.config = loaded.config
        self.device, self.dtype = device, dtype
        self._loaded = loaded
        encoder = loaded.encoder
        self._names = [name for name, _ in encoder.named_parameters() if name.endswith(".bias")]
        parameters = dict(encoder.named_parameters())
        # In fp32, before they are rounded: a delta is added to what was read.
        self._base = torch.cat([parameters[name].detach() for name in self._names]).clone()
        self._starts, end = {}, 0
        for name in self._names:
            self._starts[name], end = end, end + parameters[name].numel()
        encoder.eval().requires_grad_(False).to(device, dtype)
        modules = [encoder.get_submodule(name.removesuffix(".bias")) for name in self._names]
        self._slots = [module._parameters for module in modules]
        self._own = tuple(slot["bias"] for slot in self._slots)
        self._sizes = [len(bias) for bias in self._own if bias is not None]
        # One copy of a dense layer that came with the encoder, for all packs that did not change it.
        self._came = {name: value.to(device, dtype) for name, value in head_tensors(loaded).items()}
        self._packs: dict[str, _Ready] = {}
        self._models: dict[str, Classifier] = {}
        self._rows: RowEncoder | None = None
        self._used: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the packs that are resident, in the order in which they came."""
        return tuple(self._packs)

    @property
    def model(self) -> Classifier:
        """Return the classifier with the pack in use: the encoder itself, and that pack's head."""
        if self._used is None:
            raise InputError(f"no pack is in use; use one of {', '.join(self._packs) or 'those that you add'}")
        return self._models[self._used]

    def add(self, name: str, pack: Pack, *, scale: float = 1.0) -> None:
        """Make a pack resident; ``scale`` (0 to 1) multiplies its deltas, 0 being the encoder's own biases.

        ``DataError`` where it was made for another encoder or tokenizer.
        """
        if name in self._packs:
            raise InputError(f"a pack called {name} is resident already; remove it first, or choose another name")
        check_fit(pack, self.backbone)
        flat = self._base.clone()
        for term in pack.terms:
            if term.name not in POOLER:
                place = locate(term, self.config)
                begin = self._starts[place.name.removeprefix("encoder.")]
                flat[begin + place.start : begin + place.stop] += _scale(scale) * _tensor(pack.biases[term.key])
        flat = flat.to(self.device, self.dtype)
        biases = tuple(nn.Parameter(part, requires_grad=False) for part in torch.split(flat, self._sizes))
        head = _head(pack, self._loaded, self._came, _scale(scale), self.device, self.dtype)
        self._packs[name] = _Ready(flat, biases, head, pack.task.labels)
        self._models[name] = Classifier(self._loaded.encoder, head).eval()

    def remove(self, name: str) -> None:
        """Forget a pack; one that is in use is detached."""
        self._ready(name)
        if self._used == name:
            self.detach()
        del self._packs[name], self._models[name]

    def use(self, name: str) -> None:
        """Put a resident pack in force: pointers are exchanged, no number is copied."""
        for slot, bias in zip(self._slots, self._ready(name).biases, strict=True):
            slot["bias"] = bias
        self._used = name

    def attach(self, pack: Pack, *, scale: float = 1.0) -> None:
        """Add a pack under its task's name, and use it."""
        self.add(pack.task.name, pack, scale=scale)
        self.use(pack.task.name)

    def detach(self) -> None:
        """Give the encoder its own biases back, to the byte; the packs stay resident."""
        for slot, bias in zip(self._slots, self._own, strict=True):
            slot["bias"] = bias
        self._used = None

    @torch.inference_mode()
    def logits(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """Return the logits (B, C) of the pack in use for token ids (B, T)."""
        out: Tensor = self.model(ids, mask, segments)
        return out

    @torch.inference_mode()
    def mixed(
        self, names: Sequence[str], ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None
    ) -> list[Tensor]:
        """Return each row's logits (C of its pack,) for token ids (B, T), each row by its own pack, in one pass.

        ``names`` has the pack of each row. It does not matter which pack is in use.
        """
        if len(names) != len(ids):
            raise InputError(f"{len(names)} packs were named for {len(ids)} rows; name one for each")
        ready = {name: self._ready(name) for name in dict.fromkeys(names)}
        if self._rows is None:
            self._rows = RowEncoder(self._loaded.encoder)
        biases = torch.stack([ready[name].flat for name in names])
        states = self._rows.states(ids, mask, segments, biases, self._names)
        answers: list[Tensor] = [states] * len(names)
        for name, pack in ready.items():
            rows = [row for row, other in enumerate(names) if other == name]
            logits = pack.head(states[rows], None if mask is None else mask[rows])
            for row, row_logits in zip(rows, logits, strict=True):
                answers[row] = row_logits
        return answers

    def _ready(self, name: str) -> _Ready:
        if name not in self._packs:
            raise InputError(f"no pack called {name} is resident; there are {', '.join(self._packs) or 'none'}")
        return self._packs[name]


def _tensors(loaded: Loaded) -> dict[str, Tensor]:
    """Return all tensors of a backbone: the encoder's under their names, a head's under ``head.``."""
    return dict(loaded.encoder.state_dict()) | {f"head.{name}": v for name, v in head_tensors(loaded).items()}


def head_tensors(loaded: Loaded) -> dict[str, Tensor]:
    """Return the tensors of a head's layers that came with an encoder, by their names inside a head."""
    return {
        f"{part}.{name}": v for part, module in loaded.head_layers.items() for name, v in module.state_dict().items()
    }


def _place(name: str) -> str:
    """Return the name of a backbone's tensor inside a ``Classifier``."""
    return name if name.startswith("head.") else f"encoder.{name}"


def _slice(values: Mapping[str, Tensor], place: Place) -> Tensor:
    return values[place.name].detach().cpu()[place.start : place.stop]


def _same(old: Tensor, new: Tensor, dtype: torch.dtype) -> bool:
    return torch.equal(old.to(dtype), new.to(dtype))


def _refuse_other_changes(
    before: Mapping[str, Tensor], trained: Mapping[str, Tensor], chosen: Sequence[Place], dtype: torch.dtype
) -> None:
    """Refuse a training that changed what a pack does not hold."""
    for name, old in before.items():
        if name.startswith("head."):
            continue  # a head's tensors are stored where they changed
        new = trained[name].detach().cpu()
        if slices := [place for place in chosen if place.name == name]:
            new = new.clone()
            for place in slices:
                new[place.start : place.stop] = old[place.start : place.stop]
        if not _same(old, new, dtype):
            raise InputError(
                f"{name} changed in training, and a pack holds only the chosen biases and the head; train with "
                "a choice of biases, or save the whole model"
            )


def _scale(scale: float) -> float:
    if not 0 <= scale <= 1:
        raise InputError(f"the scale of a pack is {scale}; expected a number from 0 (the encoder's biases) to 1")
    return scale


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _head(
    pack: Pack, loaded: Loaded, came: Mapping[str, Tensor], scale: float, device: torch.device, dtype: torch.dtype
) -> ClassificationHead:
    """Return a pack's head; its tensors are those of ``came`` where the pack did not change them."""
    with torch.device("meta"):
        head = ClassificationHead(loaded.config, len(pack.task.labels))
    deltas = {locate(term, loaded.config).name: pack.biases[term.key] for term in pack.terms if term.name in POOLER}
    for name in [name for name, _ in head.named_parameters()]:
        if name in pack.head:
            value = _tensor(pack.head[name]).to(device, dtype)
        elif f"head.{name}" in deltas:
            exact = head_tensors(loaded)[name] + scale * _tensor(deltas[f"head.{name}"])
            value = exact.to(device, dtype)
        else:
            value = came[name]
        part, _, leaf = name.rpartition(".")
        head.get_submodule(part)._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    return head.eval()

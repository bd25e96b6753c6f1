"""Which parameters a method of fine-tuning trains, and what it left changed.

    full             every weight
    bitfit           bias terms of the encoder, and the head (Ben Zaken et al. 2021)
    head             the head alone
    rand-uniform     as many numbers as bitfit, drawn from the whole encoder, and the head: the paper's control
    rand-row-col     for each bias term a row or a column of its matrix, of the term's size, and the head: the other one

A pooler that came with the encoder is not the head: bitfit trains its bias, and its matrix stays frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bertwright.bias_terms import Term, choose
from bertwright.encoder.biases import locate, terms_in
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.models import Classifier
from bertwright.errors import RunError
from bertwright.training import trainable
from bertwright.training.trainable import Chosen

# Parts of a head that may have come with the encoder.
_POOLER = ("head.dense.", "head.norm.")


@dataclass(frozen=True)
class Counts:
    """How many numbers learn: in the encoder's body, in a pooler that came with it, in the head, and in all."""

    body: int
    pooler: int
    head: int
    of: int
    """Parameters of the encoder, with a pooler that came with it, without a head."""

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.body + self.pooler + self.head

    def as_dict(self) -> dict[str, int]:
        """Return plain values, with the sum."""
        return {**asdict(self), "total": self.total}


def chosen_terms(options: Mapping[str, Any], config: EncoderConfig, *, pooler: bool) -> tuple[Term, ...]:
    """Return the bias terms that a run's options name; none for the head alone."""
    if options["trainable"] in ("full", "head"):
        return ()
    layers = options["layers"]
    return choose(terms_in(config, pooler=pooler), options["terms"], tuple(layers) if layers else None)


def choose_parameters(model: Classifier, options: Mapping[str, Any], *, pooler: bool) -> Chosen:
    """Return what learns; ``pooler`` tells whether the head's dense layer came with the encoder."""
    method = options["trainable"]
    if method == "full":
        return trainable.everything(model)
    terms = chosen_terms(options, model.encoder.config, pooler=pooler)
    # Without the pooler's term its bias stays as it came; a fresh dense layer is part of the head, unless a published
    # setting leaves it as it was drawn.
    meant = options.get("of_terms", options["terms"])
    as_drawn = method != "head" and meant in ("published", "as-code") and _has_pooler(model)
    own = {name: None for name in trainable.head(model) if not ((pooler or as_drawn) and name.startswith(_POOLER))}
    if as_drawn and meant == "as-code" and not pooler:
        own["head.dense.bias"] = None
    if method == "rand-uniform":
        return {**own, **_drawn(model, sum(term.size for term in terms), options["seed"])}
    if method == "rand-row-col":
        return {**own, **_rows_and_columns(model, terms, options["seed"])}
    return {**own, **_entries(model, terms)}


def _has_pooler(model: Classifier) -> bool:
    return model.encoder.config.family in ("bert", "bert-preln")


def counts_of(model: Classifier, chosen: Chosen, *, pooler: bool) -> Counts:
    """Count what learns, the parts apart."""
    sizes = {name: trainable.count(model, {name: entries}) for name, entries in chosen.items()}
    of_head = {name: size for name, size in sizes.items() if name.startswith("head.")}
    of_pooler = sum(size for name, size in of_head.items() if pooler and name.startswith(_POOLER))
    head = sum(of_head.values()) - of_pooler
    came = [p for name, p in model.named_parameters() if pooler and name.startswith(_POOLER)]
    whole = sum(parameter.numel() for parameter in (*model.encoder.parameters(), *came))
    return Counts(sum(sizes.values()) - of_pooler - head, of_pooler, head, whole)


def _entries(model: Classifier, terms: tuple[Term, ...]) -> dict[str, Tensor | None]:
    """Return where bias terms lie; terms of a fused projection are parts of one bias."""
    parts: dict[str, list[Tensor]] = {}
    for term in terms:
        name, start, stop = locate(term, model.encoder.config)
        parts.setdefault(name, []).append(torch.arange(start, stop))
    found = {name: torch.cat(ranges) for name, ranges in parts.items()}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return {name: None if len(entries) == sizes[name] else entries for name, entries in found.items()}


def _drawn(model: Classifier, count: int, seed: int) -> dict[str, Tensor | None]:
    """Draw so many numbers of the encoder, each at most once."""
    sizes = {f"encoder.{name}": parameter.numel() for name, parameter in model.encoder.named_parameters()}
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(sum(sizes.values()), generator=generator)[:count].sort().values
    ends = torch.tensor(list(sizes.values())).cumsum(0)
    owners = torch.searchsorted(ends, drawn, right=True)
    found: dict[str, Tensor | None] = {}
    for number, (name, size) in enumerate(sizes.items()):
        own = drawn[owners == number] - (int(ends[number]) - size)
        if len(own):
            found[name] = own
    return found


def _rows_and_columns(model: Classifier, terms: tuple[Term, ...], seed: int) -> dict[str, Tensor | None]:
    """Draw for each bias term entries of its own matrix, in rows or a column; for a norm its gains."""
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {}
    for term in terms:
        bias, start, stop = locate(term, model.encoder.config)
        name = f"{bias.removesuffix('bias')}weight"
        weight = model.get_parameter(name)
        if weight.dim() == 1:
            parts.setdefault(name, []).append(torch.arange(start, stop))
            continue
        outputs, inputs = stop - start, weight.shape[1]
        column = outputs < inputs or (outputs == inputs and bool(torch.randint(2, (), generator=generator)))
        if column:
            place = int(torch.randint(inputs, (), generator=generator))
            parts.setdefault(name, []).append(torch.arange(start, stop) * inputs + place)
        else:
            rows = start + torch.randperm(outputs, generator=generator)[: -(-outputs // inputs)]
            entries = (rows[:, None] * inputs + torch.arange(inputs)).reshape(-1)
            parts.setdefault(name, []).append(entries[:outputs])
    return {name: torch.cat(entries).sort().values for name, entries in parts.items()}


def refuse_other_changes(trained: Classifier, before: Classifier, chosen: Chosen) -> None:
    """Compare a trained model with what it began as: ``RunError`` where anything else than what was chosen changed."""
    originals = dict(before.named_parameters())
    for name, parameter in trained.named_parameters():
        if chosen.get(name, ...) is None:
            continue
        same = parameter.detach().cpu() == originals[name].detach().to(parameter.dtype)
        if name in chosen:
            same.view(-1)[chosen[name]] = True
        if not bool(same.all()):
            raise RunError(f"{name} was frozen and changed in training. This is a fault of bertwright: report it.")


@torch.no_grad()
def write(model: Classifier, values: Mapping[str, Tensor], chosen: Chosen) -> None:
    """Put what was learnt into a model that is as the training began: whole parameters, or entries of them."""
    for name, value in values.items():
        parameter, entries = model.get_parameter(name), chosen[name]
        if entries is None:
            parameter.copy_(value)
        else:
            parameter.view(-1)[entries] = value.to(parameter.device)


def changes(model: Classifier, before: Mapping[str, Tensor], terms: tuple[Term, ...]) -> list[dict[str, Any]]:
    """Return how far each bias term moved: the mean of |b - b0| over its numbers (Ben Zaken et al. 2021, section 4).

    A key's is ``noise`` where softmax does not see it: the same is added to all scores of a query. With RoPE it is not.
    """
    found = []
    for term in terms:
        name, start, stop = locate(term, model.encoder.config)
        moved = (model.get_parameter(name).detach()[start:stop] - before[name][start:stop]).abs()
        noise = term.name == "key" and model.encoder.config.family != "modern"
        found.append({"term": term.name, "layer": term.layer, "change": float(moved.mean()), "noise": noise})
    return found

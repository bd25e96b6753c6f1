"""Ramps: a classifier after each of some inner layers (Xin et al. 2020, DeeBERT, section 3).

The numbers of all ramps lie in one tensor each, so that all learn in the same few products.
Shapes: B rows, T positions, H width, C classes, R ramps, E = R + 1 exits, the tuned classifier's last.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.heads import ACTIVATIONS, pooled_rows
from bertwright.encoder.models import Classifier
from bertwright.encoder.stack import Encoder
from bertwright.errors import DataError, InputError
from bertwright.pack import RAMPS_SEE_THE_MEAN

FORMS = ("pooler", "linear")
STARTS = ("tuned", "fresh")
POOLINGS = ("head", "mean")
_DEVIATION = 0.02
_MEAN = f"ramps/{RAMPS_SEE_THE_MEAN}"
_NAME = re.compile(r"ramps/(\d{1,9})/(\w+)\.(weight|bias)")


@dataclass(frozen=True)
class RampAnswers:
    """Logits (..., C) and, where there is a learned score, its value before the sigmoid, (...)."""

    logits: Tensor
    score: Tensor | None


class Ramps(nn.Module):
    """Classifiers after the layers in ``layers``, numbered from 1; never after the last, whose exit is the head.

    ``scored`` adds one score of being right that all ramps share (BERxiT's learning to exit). Vectors of all ramps are
    kept flat, (R * H,) and (R * C,): weight decay leaves one-dimensional tensors alone.
    """

    def __init__(
        self,
        config: EncoderConfig,
        classes: int,
        layers: Sequence[int],
        *,
        form: str = "pooler",
        pooling: str = "head",
        scored: bool = False,
    ) -> None:
        super().__init__()
        self.layers = checked_layers(layers, config.layers)
        if form not in FORMS:
            raise InputError(f"ramps of the form {form!r} are not known; the forms are {', '.join(FORMS)}")
        if pooling not in POOLINGS:
            raise InputError(f"ramps cannot see {pooling!r} of a row; choose one of {', '.join(POOLINGS)}")
        self.config, self.classes, self.form, self.pooling = config, classes, form, pooling
        self.start = "fresh"
        count, width = len(self.layers), config.width
        dense, normed = form == "pooler", form == "pooler" and config.family == "modern"
        self.dense_weight = nn.Parameter(torch.zeros(count, width, width)) if dense else None
        self.dense_bias = nn.Parameter(torch.zeros(count * width)) if dense else None
        self.norm_weight = nn.Parameter(torch.ones(count * width)) if normed else None
        self.norm_bias = nn.Parameter(torch.zeros(count * width)) if normed else None
        self.output_weight = nn.Parameter(torch.zeros(count, classes, width))
        self.output_bias = nn.Parameter(torch.zeros(count * classes))
        self.score_weight = nn.Parameter(torch.zeros(width)) if scored else None
        self.score_bias = nn.Parameter(torch.zeros(1)) if scored else None

    @property
    def scored(self) -> bool:
        """Whether there is a learned score of being right."""
        return self.score_weight is not None

    def forward(self, pooled: Tensor) -> RampAnswers:
        """Answer at every ramp at once: pooled states (R, B, H) give logits (R, B, C) and a score (R, B)."""
        rate = self.config.dropout if self.training else 0.0
        count, width = len(self.layers), self.config.width
        hidden = pooled
        if self.dense_weight is not None and self.dense_bias is not None:
            if rate and self.config.family == "roberta":
                hidden = F.dropout(hidden, rate)
            bias = self.dense_bias.view(count, 1, width)
            hidden = ACTIVATIONS[self.config.family](torch.baddbmm(bias, hidden, self.dense_weight.transpose(1, 2)))
        if self.norm_weight is not None and self.norm_bias is not None:
            hidden = F.layer_norm(hidden, (width,), eps=self.config.norm_eps)
            hidden = hidden * self.norm_weight.view(count, 1, width) + self.norm_bias.view(count, 1, width)
        bias = self.output_bias.view(count, 1, self.classes)
        dropped = F.dropout(hidden, rate) if rate else hidden
        logits = torch.baddbmm(bias, dropped, self.output_weight.transpose(1, 2))
        if self.score_weight is None or self.score_bias is None:
            return RampAnswers(logits, None)
        # Detached: the score learns to judge the ramps and does not bend them.
        return RampAnswers(logits, hidden.detach() @ self.score_weight + self.score_bias)

    def parts(self) -> list[Ramp]:
        """Return each ramp alone, on the tensors as they are now: what inference calls, layer by layer."""
        return [Ramp(self, place) for place in range(len(self.layers))]

    def tensors(self) -> dict[str, Tensor]:
        """Return all numbers, fp32, by a pack's names: ``ramps/3/dense.weight`` (H, H), ``ramps/3/output.bias``.

        ``ramps/mean`` (1,) is there where they see the mean of all tokens.
        """
        found: dict[str, Tensor] = {}
        for place, layer in enumerate(self.layers):
            for name, value in self._values(place):
                found[f"ramps/{layer}/{name}"] = value.detach().float().cpu().clone()
        if self.score_weight is not None and self.score_bias is not None:
            found["ramps/score.weight"] = self.score_weight.detach().float().cpu().clone()
            found["ramps/score.bias"] = self.score_bias.detach().float().cpu().clone()
        if self.pooling == "mean":
            found[_MEAN] = torch.ones(1)
        return found

    def _values(self, place: int) -> Iterator[tuple[str, Tensor]]:
        """Give one ramp's tensors, views of those of all, by name."""
        width = self.config.width
        for name, value in self.named_parameters():
            if name.startswith("score"):
                continue
            size = self.classes if name == "output_bias" else width
            yield name.replace("_", "."), value[place] if value.dim() == 3 else value[place * size : (place + 1) * size]


class Ramp:
    """One ramp, ready to answer: the tensors are taken apart once, so that a row costs two products and no more."""

    def __init__(self, ramps: Ramps, place: int) -> None:
        self.layer = ramps.layers[place]
        values = {name: value.detach() for name, value in ramps._values(place)}
        self._dense = values.get("dense.weight"), values.get("dense.bias")
        self._norm = values.get("norm.weight"), values.get("norm.bias")
        self._output = values["output.weight"], values["output.bias"]
        self._score = None
        if ramps.score_weight is not None and ramps.score_bias is not None:
            self._score = ramps.score_weight.detach()[None], ramps.score_bias.detach()
        self._activation, self._eps = ACTIVATIONS[ramps.config.family], ramps.config.norm_eps

    def __call__(self, pooled: Tensor) -> RampAnswers:
        """Answer on pooled states (B, H): logits (B, C) and a score (B,)."""
        weight, bias = self._dense
        if weight is not None:
            pooled = self._activation(F.linear(pooled, weight, bias))
        if self._norm[0] is not None:
            pooled = F.layer_norm(pooled, (pooled.shape[-1],), *self._norm, self._eps)
        score = None if self._score is None else F.linear(pooled, *self._score).squeeze(-1)
        return RampAnswers(F.linear(pooled, *self._output), score)


class RampedClassifier(nn.Module):
    """A classifier with its ramps as one model, for losses over all exits."""

    def __init__(self, classifier: Classifier, ramps: Ramps) -> None:
        super().__init__()
        self.encoder = classifier.encoder
        self.head = classifier.head
        self.ramps = ramps
        self.layers = (*ramps.layers, ramps.config.layers)
        """After which layers the exits stand, (E,)."""

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> RampAnswers:
        """Answer token ids (B, T) at every exit: logits (E, B, C), and the ramps' scores (R, B)."""
        pooled, last = [], self.encoder.embed(ids, segments)
        wanted, see = set(self.ramps.layers), seeing(self.encoder, self.ramps.pooling)
        context = self.encoder.context(ids.shape[1], mask, last.dtype, last.device)
        for number, states in enumerate(self.encoder.layers(last, context), 1):
            last = states
            if number in wanted:
                pooled.append(see(states, mask))
        answers = self.ramps(torch.stack(pooled))
        final = self.head(self.encoder.final_norm(last), mask)
        return RampAnswers(torch.cat([answers.logits, final[None]]), answers.score)


def seeing(encoder: Encoder, pooling: str) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Return what makes of an inner layer's states (B, T, H) and their mask what a ramp sees of them, (B, H).

    ``pooling`` is one of ``POOLINGS``. Pre-norm families get their final norm first: the stream of residuals grows from
    layer to layer and is normalised nowhere but there, so without it a ramp would see numbers of another size than the
    tuned head ever did. The norm works on each token alone: of a first token that is seen, its own is all there is.
    """
    own, norm = encoder.config.pooling if pooling == "head" else pooling, encoder.final_norm
    if own != "cls":
        return lambda states, mask: pooled_rows(norm(states), mask, own)
    if encoder.config.pre_norm:
        return lambda states, _: norm(states.select(1, 0))
    return lambda states, _: states.select(1, 0)


def build_ramps(
    classifier: Classifier,
    layers: Sequence[int] | None = None,
    *,
    form: str = "pooler",
    pooling: str = "head",
    start: str = "tuned",
    scored: bool = False,
    seed: int = 0,
) -> Ramps:
    """Return untrained ramps after some layers (all but the last by default), on the classifier's device, in fp32.

    ``start`` says where dense layers come from and is kept as ``ramps.start``: "tuned" is the tuned classifier's (the
    published code has the pretrained pooler's), "fresh" and every linear layer are drawn from N(0, 0.02), each ramp
    from its seed and layer, whatever other ramps there are.
    """
    config = classifier.encoder.config
    if start not in STARTS:
        raise InputError(f"ramps cannot start from {start!r}; choose one of {', '.join(STARTS)}")
    chosen = range(1, config.layers) if layers is None else layers
    head = classifier.head
    ramps = Ramps(config, head.output.out_features, chosen, form=form, pooling=pooling, scored=scored)
    ramps.start = start if form == "pooler" else "fresh"
    with torch.no_grad():
        for place, layer in enumerate(ramps.layers):
            for name, value in ramps._values(place):
                if name.endswith("weight") and value.dim() == 2:
                    key = f"{seed}/ramps/{layer}/{name}"
                    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) + (seed << 32))
                    value.normal_(0.0, _DEVIATION, generator=generator)
                part = getattr(head, name.partition(".")[0]) if ramps.start == "tuned" else None
                if part is not None and not name.startswith("output"):
                    value.copy_(getattr(part, name.partition(".")[2]))
    return ramps.to(head.output.weight.device)


def from_tensors(config: EncoderConfig, tensors: Mapping[str, Tensor]) -> Ramps:
    """Return the ramps that ``Ramps.tensors`` gave, fp32; other names are not looked at. ``DataError`` if damaged."""
    found = {name: value for name, value in tensors.items() if name.startswith("ramps/")}
    matches = [match for match in map(_NAME.fullmatch, found) if match]
    layers = sorted({int(match[1]) for match in matches})
    if not layers:
        raise DataError("there are no ramps in it: expected tensors such as ramps/3/output.weight")
    form = "pooler" if any(match[2] == "dense" for match in matches) else "linear"
    bias, weight = (found.get(f"ramps/{layers[0]}/output.{end}") for end in ("bias", "weight"))
    classes = len(bias) if bias is not None and bias.dim() == 1 else 0
    # Before memory is asked for: every matrix hangs on the length of these biases, and a file may hold them alone.
    if weight is None or weight.shape != (classes, config.width):
        told = "nothing" if weight is None else tuple(weight.shape)
        raise DataError(
            f"the ramp ramps/{layers[0]}/output.weight has the shape {told}, expected {(classes, config.width)} beside "
            f"its {classes} biases; copy the file once more"
        )
    pooling = "mean" if _MEAN in found else "head"
    ramps = Ramps(config, classes, layers, form=form, pooling=pooling, scored="ramps/score.weight" in found)
    expected = {name: tuple(value.shape) for name, value in ramps.tensors().items()}
    there = {name: tuple(value.shape) for name, value in found.items()}
    if expected != there:
        wrong = sorted(name for name in expected.keys() | there.keys() if expected.get(name) != there.get(name))
        raise DataError(
            f"the ramp {wrong[0]} has the shape {there.get(wrong[0], 'nothing')}, expected "
            f"{expected.get(wrong[0], 'nothing')} for this encoder; copy the file once more"
        )
    with torch.no_grad():
        for place, layer in enumerate(ramps.layers):
            for name, value in ramps._values(place):
                value.copy_(found[f"ramps/{layer}/{name}"])
        if ramps.score_weight is not None and ramps.score_bias is not None:
            ramps.score_weight.copy_(found["ramps/score.weight"])
            ramps.score_bias.copy_(found["ramps/score.bias"])
    return ramps


def from_pack(config: EncoderConfig, arrays: Mapping[str, np.ndarray]) -> Ramps:
    """Return the ramps of a pack, whose format may be half as wide, in fp32; ``DataError`` where they are damaged."""
    tensors = {f"ramps/{name}": torch.from_numpy(value.astype(np.float32)) for name, value in arrays.items()}
    return from_tensors(config, tensors)


def checked_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Return the layers that have a ramp, rising; ``InputError`` for none, and for such as have no inner layer."""
    found = tuple(sorted(set(layers)))
    if not found:
        raise InputError(f"ramps after no layer of {depth}; give some of 1 to {depth - 1}, or train no ramps")
    if found[0] < 1 or found[-1] >= depth:
        raise InputError(
            f"ramps after the layers {', '.join(map(str, found))} of {depth}; expected numbers from 1 to {depth - 1}: "
            "the last layer has the tuned classifier"
        )
    return found

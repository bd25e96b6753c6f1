"""Inference that stops: each row leaves at the first exit whose policy lets it, and takes its work along.

A plain loop over the blocks. Rows that left are packed away, so that a batch becomes smaller from layer to layer; with
more than one row in a batch, published code had the slowest row decide. Shapes: B rows, T positions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bertwright.encoder.layers import Context
from bertwright.encoder.models import Classifier
from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit
from bertwright.exits.costs import Costs, measure
from bertwright.exits.policies import Policy, State
from bertwright.exits.ramps import RampAnswers, Ramps, seeing
from bertwright.tasks.batches import Encoded, in_order_of_length
from bertwright.training.feed import on_device

_BATCH = 64


def always(_rows: int, _left: int, _layers: int) -> bool:
    """Pack rows together whenever some leave: on a CPU a layer costs what its rows cost, and packing is a copy."""
    return True


class Decides(Protocol):
    """What is asked of a policy; ``Policy`` is one."""

    def begin(self, count: int) -> State:
        """Return the state before the first exit of so many rows."""

    def looks_at(self, ramp: int) -> bool:
        """Whether a ramp has to be computed."""

    def decide(self, ramp: int, logits: np.ndarray, state: State, scores: np.ndarray | None = None) -> np.ndarray:
        """Return which rows leave at a ramp, (B,)."""


@dataclass(frozen=True)
class Exited:
    """What a batch was answered: logits (B, C) fp32 in the order of its rows, and the layers each ran through, (B,).

    ``near`` (B,) tells which rows came within 1e-5 of a threshold: in another batch they may leave elsewhere.
    """

    logits: np.ndarray
    layers: np.ndarray
    near: np.ndarray


class ExitingClassifier:
    """A classifier with ramps and a policy, ready to answer.

    Model and ramps are taken as they are, on their device and in their format, and evaluated; the tensors of the ramps
    must not be replaced afterwards. ``pays(rows, left, layers to come)`` tells whether rows are packed together: always
    on a CPU; on a GPU as measured (``costs.Costs.pays``) for the length of the first batch, unless it is given.
    """

    def __init__(
        self,
        classifier: Classifier,
        ramps: Ramps,
        policy: Decides,
        *,
        pays: Callable[[int, int, int], bool] | None = None,
    ) -> None:
        if classifier.encoder.form == "flex":
            raise InputError("flex attention cannot let rows leave; call `encoder.attention_form('sdpa')` before")
        if isinstance(policy, Policy):
            policy.check(len(ramps.layers), ramps.classes, scored=ramps.scored)
        self.classifier, self.ramps, self.policy = classifier.eval(), ramps.eval(), policy
        self._pays, self._see = pays, seeing(classifier.encoder, ramps.pooling)
        # The ramps that the policy looks at, by the number of layers before them.
        self._ramps = {ramp.layer: (place, ramp) for place, ramp in enumerate(ramps.parts()) if policy.looks_at(place)}

    @torch.inference_mode()
    def __call__(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Exited:
        """Answer token ids (B, T); ``mask`` (B, T) and ``segments`` as the classifier takes them.

        The host waits for the device once a ramp, for its logits. With a policy that looks at no ramp the answers are
        the classifier's own, to the last bit.
        """
        encoder, head = self.classifier.encoder, self.classifier.head
        gathered = _Answers(len(ids), head.output.out_features, encoder.config.layers)
        if not len(ids):
            return gathered.done()
        pays = self._paying(ids)
        x = encoder.embed(ids, segments)
        rows = _Rows(x, mask, encoder.context(ids.shape[1], mask, x.dtype, x.device), self.policy.begin(len(ids)))
        for number, block in enumerate(encoder.blocks, 1):
            rows.states = block(rows.states, rows.context)
            if number not in self._ramps:
                continue
            place, ramp = self._ramps[number]
            found = ramp(self._see(rows.states, rows.mask))
            logits, scores = on_host(found)
            leave = self.policy.decide(place, logits, rows.state, scores)
            if not np.count_nonzero(leave):
                continue
            if not gathered.take(rows, leave, logits, number):
                return gathered.done()
            staying = np.flatnonzero(~rows.gone)
            if pays(len(rows.gone), len(staying), encoder.config.layers - number):
                rows.keep(staying)
        final = head(encoder.final_norm(rows.states), rows.mask).float().cpu().numpy()
        gathered.take(rows, np.ones(len(final), dtype=bool), final, encoder.config.layers)
        return gathered.done()

    def _paying(self, ids: Tensor) -> Callable[[int, int, int], bool]:
        """Return what tells whether packing pays; measured once, where that is not known."""
        if self._pays is None and ids.device.type != "cpu":
            costs: Costs = measure(self.classifier, self.ramps, ids.shape[1], rows=max(2, len(ids)))
            self._pays = costs.pays
        return self._pays or always


def on_host(found: RampAnswers) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a ramp's logits (B, C) and scores of being right (B,), fp32; the host waits once for both."""
    if found.score is None:
        return found.logits.float().cpu().numpy(), None
    both = torch.cat([found.logits, found.score[:, None]], dim=-1).float().cpu().numpy()
    # exp(80) is still an fp32 number.
    return both[:, :-1], 1 / (1 + np.exp(np.minimum(-both[:, -1], 80)))


class _Rows:
    """The rows that are still in the batch; some of them may have their answer already."""

    def __init__(self, states: Tensor, mask: Tensor | None, context: Context, state: State) -> None:
        self.states, self.mask, self.context, self.state = states, mask, context, state
        self.numbers = np.arange(len(states))
        self.gone = np.zeros(len(states), dtype=bool)

    def keep(self, staying: np.ndarray) -> None:
        """Pack the rows whose places are given."""
        chosen = torch.from_numpy(staying).to(self.states.device, non_blocking=True)
        self.states = self.states.index_select(0, chosen)
        self.mask = None if self.mask is None else self.mask.index_select(0, chosen)
        self.context, self.state = self.context.rows(chosen), self.state.rows(staying)
        self.numbers, self.gone = self.numbers[staying], self.gone[staying]


class _Answers:
    """Collects answers in the order of the batch."""

    def __init__(self, count: int, classes: int, depth: int) -> None:
        self._left = count
        self._found = Exited(
            np.empty((count, classes), dtype=np.float32), np.full(count, depth), np.zeros(count, dtype=bool)
        )

    def take(self, rows: _Rows, leave: np.ndarray, logits: np.ndarray, layers: int) -> int:
        """Note the answers of rows that leave, (B,), unless they have one; return how many rows are still to come."""
        own = leave & ~rows.gone
        numbers = rows.numbers[own]
        self._found.logits[numbers], self._found.layers[numbers] = logits[own], layers
        self._found.near[numbers] = rows.state.near[own]
        rows.gone |= own
        self._left -= len(numbers)
        return self._left

    def done(self) -> Exited:
        """Return the answers."""
        return self._found


def answer_exiting(model: ExitingClassifier, rows: Encoded, progress: Callable[[int], None] = lambda _: None) -> Exited:
    """Answer encoded rows, or windows, each at its own layer, in their order, longest first as the batches go.

    ``progress`` is told how many were answered since it was told last.
    """
    device, found = model.classifier.head.output.weight.device, _Answers(len(rows.ids), model.ramps.classes, 0).done()
    for chosen, batch in in_order_of_length(rows, _BATCH):
        here = on_device(batch, device)
        answered = model(here["ids"], here["mask"], here["segments"])
        found.logits[chosen], found.layers[chosen] = answered.logits, answered.layers
        found.near[chosen] = answered.near
        progress(len(chosen))
    return found


@torch.inference_mode()
def answer_everywhere(classifier: Classifier, ramps: Ramps, rows: Encoded, kind: str) -> EveryExit:
    """Answer encoded rows, or windows, at every exit, in their order: what calibration works on."""
    classifier.eval()
    ramps.eval()
    encoder, device = classifier.encoder, classifier.head.output.weight.device
    layers, parts = (*ramps.layers, encoder.config.layers), {ramp.layer: ramp for ramp in ramps.parts()}
    see = seeing(encoder, ramps.pooling)
    logits = np.empty((len(layers), len(rows.ids), ramps.classes), dtype=np.float32)
    scores = np.empty((len(layers) - 1, len(rows.ids)), dtype=np.float32) if ramps.scored else None
    for chosen, batch in in_order_of_length(rows, _BATCH):
        here = on_device(batch, device)
        mask, x = here["mask"], encoder.embed(here["ids"], here["segments"])
        context, place = encoder.context(x.shape[1], mask, x.dtype, x.device), 0
        for number, block in enumerate(encoder.blocks, 1):
            x = block(x, context)
            if number in parts:
                found = parts[number](see(x, mask))
                logits[place, chosen], own = on_host(found)
                if scores is not None and own is not None:
                    scores[place, chosen] = own
                place += 1
        logits[-1, chosen] = classifier.head(encoder.final_norm(x), mask).float().cpu().numpy()
    return EveryExit(kind, layers, logits, scores)

"""When a row leaves: policies by name, on numpy arrays alone.

A policy looks at the logits of one exit after the other. It sees the ramps only: the last exit, the tuned classifier,
always answers. Shapes: B rows, C classes, R ramps, G policies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertwright.errors import InputError
from bertwright.exits.measures import (
    confidence,
    confidence_alone,
    entropy,
    entropy_alone,
    least_confidence,
    most_entropy,
)

# Rows whose number lies this near a threshold may leave elsewhere when they stand in another batch.
NEAR = 1e-5
# Classes up to which plain numbers are quicker than arrays, for one row.
_FEW = 32
_LEAVES, _STAYS = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)


@dataclass
class State:
    """What a policy remembers of the rows of a batch from exit to exit.

    ``near`` (B,) tells which rows came within 1e-5 of a threshold; ``answers`` (B,) or (B, C) and ``agreed`` (B,) are
    what the exit before answered and how many exits in a row did.
    """

    near: np.ndarray
    answers: np.ndarray | None = None
    agreed: np.ndarray | None = None

    def rows(self, keep: np.ndarray) -> State:
        """Return the state of the rows whose numbers are in ``keep``, (K,)."""
        answers = None if self.answers is None else self.answers[keep]
        return State(self.near[keep], answers, None if self.agreed is None else self.agreed[keep])


@dataclass(frozen=True)
class Policy:
    """A rule and its threshold: one for all ramps, or one for each.

    ``tolerance`` is patience's in a regression: the change from exit to exit that counts as none.
    """

    name: str
    thresholds: tuple[float, ...] = ()
    tolerance: float | None = None
    kind: str = "classification"

    def __post_init__(self) -> None:
        """Refuse what no exit can be decided by."""
        if self.name not in RULES:
            raise InputError(f"exit policy {self.name!r} is not known; the policies are {', '.join(RULES)}")
        rule = RULES[self.name]
        if self.kind not in rule.kinds:
            raise InputError(
                f"exit policy {self.name} needs probabilities, and a regression has none; "
                "use patience:2:0.1 (two changes in a row below 0.1) or learned:0.9"
            )
        if (self.name == "never") != (not self.thresholds):
            found = "a threshold" if self.thresholds else "no threshold"
            raise InputError(f"exit policy {self.name} has {found}; write {rule.example}")
        if not all(math.isfinite(one) for one in self.thresholds):
            raise InputError(
                f"exit policy {self.name}: found the thresholds {self.thresholds}, expected finite numbers"
            )
        if self.name == "patience":
            self._check_patience()
        elif self.tolerance is not None:
            raise InputError(f"exit policy {self.name} has a tolerance; only patience takes one, in a regression")

    def _check_patience(self) -> None:
        if any(one < 1 or one != int(one) for one in self.thresholds):
            found = ", ".join(f"{one:g}" for one in self.thresholds)
            raise InputError(f"exit policy patience: found {found}, expected whole numbers of exits from 1 on")
        if (self.kind == "regression") != (self.tolerance is not None):
            raise InputError(
                "exit policy patience needs a tolerance in a regression and has none elsewhere; write patience:2:0.1 "
                "for numbers and patience:2 for labels"
            )
        if self.tolerance is not None and not 0 < self.tolerance < math.inf:
            raise InputError(f"exit policy patience: found the tolerance {self.tolerance:g}, expected one above 0")

    @property
    def text(self) -> str:
        """Return what ``parse`` reads as this policy."""
        parts = [self.name]
        if self.thresholds:
            parts.append(",".join(_written(one) for one in self.thresholds))
        if self.tolerance is not None:
            parts.append(_written(self.tolerance))
        return ":".join(parts)

    def threshold(self, ramp: int) -> float:
        """Return the threshold of a ramp, counted from 0."""
        return self.thresholds[ramp] if len(self.thresholds) > 1 else self.thresholds[0]

    def begin(self, count: int) -> State:
        """Return the state before the first exit of ``count`` rows."""
        return State(np.zeros(count, dtype=bool))

    def looks_at(self, ramp: int) -> bool:
        """Whether a ramp has to be computed: not where its threshold lets no row leave."""
        rule = RULES[self.name]
        return bool(self.thresholds) and (rule.never is None or not rule.never(self.threshold(ramp)))

    def decide(self, ramp: int, logits: np.ndarray, state: State, scores: np.ndarray | None = None) -> np.ndarray:
        """Return which rows leave at a ramp, (B,) bool, and note in ``state`` what the next one asks for.

        ``logits`` are (B, C) of any float type; ``scores`` (B,) are the ramp's learned scores of being right. A row
        with a logit that is not a number never leaves: it is left to the last exit.
        """
        if not self.thresholds:
            return np.zeros(len(logits), dtype=bool)
        rule, threshold = RULES[self.name], self.threshold(ramp)
        if rule.alone is not None and len(logits) == 1:
            (row,) = logits.tolist()
            if len(row) <= _FEW and math.isfinite(sum(row)):
                over = rule.alone(row, self.kind) - threshold
                if -NEAR <= over <= NEAR:
                    state.near[0] = True
                return _LEAVES if (over < 0 if rule.leaves is np.less else over > 0) else _STAYS
        value = rule.measure(self, logits, state, scores)
        if self.name != "patience":  # patience counts, and what comes near is seen where it compares
            state.near |= np.abs(value - threshold) <= NEAR
        return np.asarray(rule.leaves(value, threshold), dtype=bool)

    def check(self, ramps: int, classes: int, *, scored: bool = False) -> tuple[str, ...]:
        """Refuse a model that the policy does not fit; return sentences on thresholds that never or always hold.

        ``scored`` tells whether the ramps have a learned score.
        """
        if len(self.thresholds) not in (0, 1, ramps):
            raise InputError(
                f"exit policy {self.name} has {len(self.thresholds)} thresholds for {ramps} ramps; "
                f"give one for all, or {ramps}"
            )
        if self.name == "learned" and not scored:
            raise InputError(
                "exit policy learned needs ramps with a learned score, and these have none; train them with "
                "a score, or use entropy:0.2"
            )
        return _cautions(self, ramps, classes)


def _written(number: float) -> str:
    return np.format_float_positional(number, trim="-")


def parse(text: str, kind: str = "classification") -> Policy:
    """Read ``entropy:0.2``, ``confidence:0.9``, ``patience:3``, ``learned:0.8`` or ``never``.

    Several thresholds, one for each ramp, are joined by commas (``entropy:0.1,0.2,0.2``); a regression's patience has a
    tolerance behind it (``patience:2:0.1``). ``InputError`` says what was found and what is read.
    """
    name, *rest = (part.strip() for part in text.strip().split(":"))
    known = ", ".join(rule.example for rule in RULES.values())
    if name not in RULES:
        raise InputError(f"exit policy {text!r} is not known; write one of {known}")
    if len(rest) > 2:
        raise InputError(f"exit policy {text!r} has {len(rest)} colons, at most two are read; write one of {known}")
    try:
        thresholds = tuple(float(part) for part in rest[0].split(",")) if rest else ()
        tolerance = float(rest[1]) if len(rest) > 1 else None
    except ValueError:
        raise InputError(
            f"exit policy {text!r}: {':'.join(rest)!r} is not a number, or numbers joined by commas; "
            f"write such as {RULES[name].example}"
        ) from None
    return Policy(name, thresholds, tolerance, kind)


def _agreements(policy: Policy, logits: np.ndarray, state: State, _: np.ndarray | None) -> np.ndarray:
    """Return how many exits in a row agreed with the one before, (B,) (Zhou et al. 2020, PABEE)."""
    x = np.asarray(logits, dtype=np.float32)
    known = np.isfinite(x).all(axis=-1)
    answers: np.ndarray = x[:, 0]
    if policy.kind != "regression":
        answers = np.asarray(x.argmax(axis=-1) if policy.kind == "classification" else x > 0)
    if state.answers is None or state.agreed is None:
        state.answers, state.agreed = answers, np.zeros(len(x), dtype=np.int64)
        return state.agreed
    if policy.kind == "regression":
        with np.errstate(invalid="ignore"):  # infinity less infinity: an answer that is not known agrees with none
            change = np.abs(answers - state.answers)
        state.near |= np.abs(change - float(policy.tolerance or 0)) <= NEAR
        same = change < policy.tolerance
    elif policy.kind == "multi-label":
        state.near |= np.abs(x).min(axis=-1) <= NEAR
        same = (answers == state.answers).all(axis=-1)
    else:
        top = np.partition(x, -2, axis=-1)
        state.near |= np.isclose(top[:, -1], top[:, -2], rtol=0, atol=NEAR)
        same = answers == state.answers
    state.answers, state.agreed = answers, np.where(same & known, state.agreed + 1, 0)
    return state.agreed


def _learned(_: Policy, logits: np.ndarray, state: State, scores: np.ndarray | None) -> np.ndarray:
    if scores is None:
        raise InputError("exit policy learned was asked without scores; hand in each ramp's score of being right, (B,)")
    known = np.isfinite(np.asarray(logits, dtype=np.float32)).all(axis=-1)
    return np.where(known, np.asarray(scores, dtype=np.float32), np.float32(-np.inf))


Measure = Callable[[Policy, np.ndarray, State, "np.ndarray | None"], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """How a policy measures rows at an exit, (B,), and which measures let them leave.

    ``never`` and ``always`` tell of a threshold whether no row passes it, or every row does (given the classes and the
    kind). ``alone`` is the measure of a single row of few finite logits, in plain numbers: a dozen operations on arrays
    of three numbers would cost a layer's twentieth.
    """

    measure: Measure
    leaves: Callable[[np.ndarray, float | np.ndarray], np.ndarray]
    kinds: tuple[str, ...]
    example: str
    sentence: str
    never: Callable[[float], bool] | None = None
    always: Callable[[float, int, str], bool] | None = None
    alone: Callable[[list[float], str], float] | None = None


_LABELS = ("classification", "multi-label")
_ALL = (*_LABELS, "regression")


RULES: dict[str, Rule] = {
    "entropy": Rule(
        lambda policy, logits, _state, _scores: entropy(logits, policy.kind),
        np.less,
        _LABELS,
        "entropy:0.2",
        "leave where the entropy is below S nats (Xin et al. 2020, DeeBERT, algorithm 1)",
        lambda threshold: threshold <= 0,
        lambda threshold, classes, kind: threshold > most_entropy(classes, kind),
        entropy_alone,
    ),
    "confidence": Rule(
        lambda policy, logits, _state, _scores: confidence(logits, policy.kind),
        np.greater,
        _LABELS,
        "confidence:0.9",
        "leave where the answer's probability is above c",
        lambda threshold: threshold >= 1,
        lambda threshold, classes, kind: threshold < least_confidence(classes, kind),
        confidence_alone,
    ),
    "patience": Rule(
        _agreements,
        np.greater_equal,
        _ALL,
        "patience:3",
        "leave where k exits in a row agreed with the one before (Zhou et al. 2020, PABEE)",
    ),
    "learned": Rule(
        _learned,
        np.greater,
        _ALL,
        "learned:0.8",
        "leave where a learned score of being right is above c (Xin et al. 2021, BERxiT, learning to exit)",
        lambda threshold: threshold >= 1,
        lambda threshold, _classes, _kind: threshold < 0,
    ),
    "never": Rule(
        lambda _policy, logits, _state, _scores: np.zeros(len(logits)),
        np.greater,
        _ALL,
        "never",
        "every row runs through all layers",
    ),
}


def _cautions(policy: Policy, ramps: int, classes: int) -> tuple[str, ...]:
    """Say which thresholds let no row leave, and which let all."""
    rule = RULES[policy.name]
    most, least = most_entropy(classes, policy.kind), least_confidence(classes, policy.kind)
    span = {
        "entropy": f"entropies lie between 0 and {most:.4g} nats for {classes} classes",
        "confidence": f"confidences lie between {least:.4g} and 1 for {classes} classes",
        "learned": "scores lie between 0 and 1",
    }.get(policy.name, "")
    found = []
    for place, threshold in enumerate(policy.thresholds):
        where = "" if len(policy.thresholds) == 1 else f" at ramp {place + 1}"
        if policy.name == "patience" and threshold >= ramps:
            found.append(
                f"patience:{threshold:g} never lets a row leave{where}: {ramps} ramps can agree "
                f"{max(ramps - 1, 0)} times in a row; use at most patience:{max(ramps - 1, 1)}"
            )
        elif rule.never is not None and rule.never(threshold):
            found.append(f"{policy.name}:{threshold:g} never lets a row leave{where}: {span}")
        elif rule.always is not None and rule.always(threshold, classes, policy.kind):
            found.append(f"{policy.name}:{threshold:g} lets every row leave{where or ' at the first ramp'}: {span}")
    return tuple(found)


def leaving(policies: Sequence[Policy], logits: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
    """Return the exit at which each row leaves under each policy, (G, n) whole numbers from 0; the last exit is R.

    ``logits`` (R, n, C) and ``scores`` (R, n) are the ramps'. Policies that differ in thresholds alone are measured
    once.
    """
    ramps, count = logits.shape[:2]
    found = np.full((len(policies), count), ramps, dtype=np.int64)
    measured: dict[tuple[str, float | None, str], np.ndarray] = {}
    for place, policy in enumerate(policies):
        if not policy.thresholds or not ramps:
            continue
        key = (policy.name, policy.tolerance, policy.kind)
        if key not in measured:
            state, rule = policy.begin(count), RULES[policy.name]
            own = [None] * ramps if scores is None else list(scores)
            values = [rule.measure(policy, logits[ramp], state, own[ramp]) for ramp in range(ramps)]
            measured[key] = np.stack(values)
        # In fp32, as a threshold is where it stands beside one row's measure.
        thresholds = np.broadcast_to(np.array(policy.thresholds, dtype=np.float32), (ramps,))[:, None]
        leave = RULES[policy.name].leaves(measured[key], thresholds)
        found[place] = np.where(leave.any(axis=0), leave.argmax(axis=0), ramps)
    return found


def counts_of(choice: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Return how many calibration rows left at each exit, as a pack or a model's folder tells them.

    Empty where it tells none, or anything else than whole numbers: such a calibration says nothing.
    """
    found = (choice or {}).get("counts")
    plain = isinstance(found, list | tuple) and all(type(one) is int and 0 <= one < 1 << 53 for one in found)
    return tuple(found) if plain and found and sum(found) else ()

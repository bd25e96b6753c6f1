"""Thresholds with a promise: chosen on rows that took part in nothing else.

The risk of a policy is P(the full model is right and the exit is wrong); accuracy cannot fall by more. Policies are
tested from strict to lax, each by an exact binomial test at level delta, until one fails (fixed-sequence testing,
Angelopoulos et al. 2021, Learn then Test): the chance that any of those before has a larger risk than was
promised is at most delta. No shape of the risk is assumed. The policies have to be fixed before the rows are seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.stats

from bertwright.errors import InputError
from bertwright.exits.answers import EveryExit, taken
from bertwright.exits.measures import least_confidence, most_entropy
from bertwright.exits.policies import Policy
from bertwright.exits.savings import exit_counts, expected_saving
from bertwright.tasks.metrics import METRICS

_POINTS = 60
_DRAWS = 400


class TooDear(InputError):
    """No policy costs as little as was asked for."""


@dataclass(frozen=True)
class Promise:
    """A policy and what may be said of it, from calibration rows.

    ``basis`` is "certified" (exact tests), "bound" (chosen by cost, its risk bounded for all candidates at once),
    "estimate" (bootstrap of a metric), "by-score" (the best on these rows) or "uncertified". ``losses`` of ``rows``
    were right in full and wrong at the exit; ``bound`` is what the drop stays below with probability 1 - ``delta``
    (nothing for "uncertified"; for "certified" ``max_drop``, since a closer one would not hold for a policy that the
    same rows chose). ``needed`` are the rows that would do. ``saving`` is expected, in the costs that were given;
    ``counts`` (E,) are the rows that left at each exit, for the drift check.
    """

    policy: Policy
    basis: str
    sentence: str
    rows: int
    saving: float
    counts: tuple[int, ...]
    delta: float
    metric: str | None = None
    max_drop: float | None = None
    losses: int | None = None
    bound: float | None = None
    needed: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, the policy as its text: what a pack or a record keeps."""
        return {**asdict(self), "policy": self.policy.text, "counts": list(self.counts)}


def candidates(
    name: str, kind: str, *, ramps: int, classes: int, tolerance: float | None = None, points: int = _POINTS
) -> tuple[Policy, ...]:
    """Return policies of one name from strict to lax, fixed without a look at any row.

    Thresholds are spaced by a constant factor from knowing nearly all to knowing nothing; ``patience`` has one for each
    whole number.
    """
    if name == "never" or ramps < 1:
        return (Policy("never", kind=kind),)
    if name == "patience":
        if ramps < 2:
            raise InputError(f"patience compares ramps, and there are {ramps}; use entropy, or ramps after more layers")
        return tuple(Policy(name, (float(k),), tolerance, kind) for k in range(ramps - 1, 0, -1))
    shares = np.geomspace(1e-4, 1.0, points)
    if name == "entropy":
        values = most_entropy(classes, kind) * shares
    elif name == "confidence":
        values = 1 - (1 - least_confidence(classes, kind)) * shares
    else:
        values = 1 - shares
    # Short numbers, so that the policy's text says all of it.
    return tuple(dict.fromkeys(Policy(name, (float(f"{value:.5g}"),), None, kind) for value in values))


def risk_bound(losses: int, rows: int, delta: float) -> float:
    """Return the exact upper bound (Clopper and Pearson 1934) of a risk of which ``losses`` of ``rows`` were seen.

    The risk is above it with a chance of at most ``delta``.
    """
    return 1.0 if losses >= rows else float(scipy.stats.beta.ppf(1 - delta, losses + 1, rows - losses))


def rows_needed(max_drop: float, delta: float, losses: int = 0) -> int:
    """Return the fewest rows that certify ``max_drop`` with so many losses: 598 for none, 0.5 % and delta 0.05."""
    if losses == 0:
        return math.ceil(math.log(delta) / math.log1p(-max_drop))
    low, high = losses, 2 * losses
    while scipy.stats.binom.cdf(losses, high, max_drop) > delta:
        low, high = high, 2 * high
    while low + 1 < high:
        middle = (low + high) // 2
        if scipy.stats.binom.cdf(losses, middle, max_drop) <= delta:
            high = middle
        else:
            low = middle
    return high


def certified(losses: np.ndarray, rows: int, max_drop: float, delta: float) -> np.ndarray:
    """Return how many policies pass before the first that fails: losses (..., G), strict to lax, give (...).

    A policy passes where so few losses have a chance of at most ``delta`` at a risk of ``max_drop``: the exact test,
    and the same as ``risk_bound`` being at most ``max_drop``.
    """
    most = np.arange(rows + 1)
    passing = int((scipy.stats.binom.cdf(most, rows, max_drop) <= delta).sum())
    passes = np.asarray(losses) < passing
    return np.asarray(np.where(passes.all(axis=-1), passes.shape[-1], passes.argmin(axis=-1)))


def calibrate(
    every: EveryExit,
    gold: np.ndarray,
    policies: Sequence[Policy],
    *,
    max_drop: float,
    delta: float = 0.05,
    costs: Sequence[float] | None = None,
    metric: str | None = None,
    positive: int | None = None,
    seed: int = 0,
) -> Promise:
    """Choose the policy that saves most among those whose loss is at most ``max_drop`` (a share: 0.005 is 0.5 %).

    ``policies`` go from strict to lax (``candidates``), ``gold`` is (n,) or (n, C), ``costs`` (E,) are what leaving at
    each exit costs, the layers by default. Without a ``metric`` the risk is certified; F1, correlations and others of
    all rows together get a bootstrap estimate of their drop and are called so. A regression needs a metric.
    ``InputError`` for rows that can tell nothing; where they are too few, the answer says how many would do.
    """
    _checked(every, gold, policies, delta)
    if not 0 < max_drop < 1:
        raise InputError(f"max_drop is {max_drop:g}; expected a share between 0 and 1, such as 0.005 for 0.5 %")
    costs = every.layers if costs is None else costs
    exits = every.leaving(policies)
    if metric not in (None, "accuracy"):
        return _estimated(every, gold, policies, exits, costs, str(metric), positive, max_drop, delta, seed)
    losses = _losses(every, gold, exits)
    savings = [_saving(one, every, costs) for one in exits]
    passed = int(certified(losses, every.rows, max_drop, delta))
    if passed:
        best = max(range(passed), key=lambda place: (savings[place], place))
        return _certified(policies[best], exits[best], int(losses[best]), savings[best], every, max_drop, delta)
    return _uncertified(policies, exits, losses, savings, every, max_drop, delta)


def at_cost(
    every: EveryExit,
    gold: np.ndarray,
    policies: Sequence[Policy],
    *,
    at_most: float,
    costs: Sequence[float] | None = None,
    delta: float = 0.05,
) -> Promise:
    """Choose the strictest policy whose mean cost a row is ``at_most``, in the unit of ``costs`` (layers by default).

    Its risk is bounded for all candidates at once (delta divided by their number), because the same rows chose it.
    ``TooDear`` where no policy is that cheap.
    """
    _checked(every, gold, policies, delta)
    costs = every.layers if costs is None else costs
    exits = every.leaving(policies)
    means = np.asarray(costs, dtype=np.float64)[exits].mean(axis=1)
    cheap = np.flatnonzero(means <= at_most)
    if not len(cheap):
        raise TooDear(
            f"no policy costs at most {at_most:g} a row: the cheapest, {policies[int(means.argmin())].text}, costs "
            f"{means.min():.4g} and the whole model {costs[-1]:g}; allow more"
        )
    place = int(cheap[0])
    lost = int(_losses(every, gold, exits[place][None])[0])
    bound = risk_bound(lost, every.rows, delta / len(policies))
    saving = _saving(exits[place], every, costs)
    sentence = (
        f"{policies[place].text} costs {means[place]:.4g} a row (at most {at_most:g} asked), an expected saving of "
        f"{100 * saving:.1f} %. {_seen(lost, every.rows)}; with probability {1 - delta:.3g} at most "
        f"{100 * bound:.2f} % of such rows are lost (bounded for all {len(policies)} candidates at once, as these "
        "rows chose among them)."
    )
    return _promise(
        every, policies[place], exits[place], "bound", sentence, saving, delta=delta, losses=lost, bound=bound
    )


def _checked(every: EveryExit, gold: np.ndarray, policies: Sequence[Policy], delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError(f"delta is {delta:g}; expected a chance between 0 and 1, such as 0.05")
    if not policies:
        raise InputError("there are 0 policies to choose from; give candidates from strict to lax")
    if len(gold) != every.rows:
        raise InputError(f"{len(gold)} labels for {every.rows} calibration rows; expected one for each")
    if every.rows < 2:
        raise InputError(
            "there is 1 calibration row, from which nothing follows; give at least 2, and for 0.5 % with delta 0.05 "
            f"{rows_needed(0.005, 0.05)}"
        )
    if (np.asarray(gold) == np.asarray(gold)[:1]).all():
        raise InputError(
            f"all {every.rows} calibration rows have the same label; expected rows as they come, of at least 2 labels: "
            "a constant answer would look perfect on these"
        )


def _losses(every: EveryExit, gold: np.ndarray, exits: np.ndarray) -> np.ndarray:
    """Count the rows that the full model has right and the exit wrong, (G,); of several labels all have to be right."""
    if every.kind == "regression":
        raise InputError(
            "numbers are not right or wrong, so no risk can be certified for a regression; give a metric, such as "
            "spearman, for a bootstrap estimate of its drop"
        )
    answers = every.answers()
    right = answers == gold[None]
    if right.ndim == 3:
        right = right.all(axis=-1)
    rows = np.arange(every.rows)
    return np.array([int((right[-1] & ~right[one, rows]).sum()) for one in exits])


def _saving(exits: np.ndarray, every: EveryExit, costs: Sequence[float]) -> float:
    return expected_saving(exit_counts(exits, len(every.layers)), costs)


def _promise(
    every: EveryExit, policy: Policy, exits: np.ndarray, basis: str, sentence: str, saving: float, **known: Any
) -> Promise:
    counts = tuple(int(one) for one in exit_counts(exits, len(every.layers)))
    return Promise(policy, basis, sentence, rows=every.rows, saving=saving, counts=counts, **known)


def _seen(losses: int, rows: int) -> str:
    return f"On {rows:,} rows the full model was right and the exit wrong in {losses:,} ({100 * losses / rows:.2f} %)"


def _certified(
    policy: Policy, exits: np.ndarray, losses: int, saving: float, every: EveryExit, max_drop: float, delta: float
) -> Promise:
    sentence = (
        f"{policy.text} has an expected saving of {100 * saving:.1f} %. {_seen(losses, every.rows)}; certified: with "
        f"probability {1 - delta:.3g} at most {100 * max_drop:g} % of such rows are lost."
    )
    known: dict[str, Any] = {"max_drop": max_drop, "losses": losses, "bound": max_drop}
    return _promise(every, policy, exits, "certified", sentence, saving, delta=delta, **known)


def _uncertified(
    policies: Sequence[Policy],
    exits: np.ndarray,
    losses: np.ndarray,
    savings: Sequence[float],
    every: EveryExit,
    max_drop: float,
    delta: float,
) -> Promise:
    """Say that nothing is certified, what the rows would have to be, and the best as far as they show."""
    fewest = rows_needed(max_drop, delta)
    within = [place for place in range(len(policies)) if losses[place] <= max_drop * every.rows]
    best = max(within, key=lambda place: (savings[place], place)) if within else int(np.argmin(losses))
    lost = int(losses[best])
    needed = max(fewest, rows_needed(max_drop, delta, lost)) if within else None
    if every.rows < fewest:
        why = (
            f"not enough data: {every.rows:,} rows; {fewest:,} rows without a loss are needed to hold "
            f"{100 * max_drop:g} % with probability {1 - delta:.3g}"
        )
    else:
        why = (
            f"nothing is certified: already {policies[0].text}, the strictest, lost {int(losses[0]):,} of "
            f"{every.rows:,} rows, too many to hold {100 * max_drop:g} % with probability {1 - delta:.3g}"
        )
    more = f", which {needed:,} rows could certify if no more were lost" if needed is not None else ""
    sentence = (
        f"{why}. The uncertified best is {policies[best].text} with an expected saving of {100 * savings[best]:.1f} %. "
        f"{_seen(lost, every.rows)}{more}."
    )
    known: dict[str, Any] = {"max_drop": max_drop, "losses": lost, "needed": needed}
    return _promise(every, policies[best], exits[best], "uncertified", sentence, savings[best], delta=delta, **known)


def _estimated(
    every: EveryExit,
    gold: np.ndarray,
    policies: Sequence[Policy],
    exits: np.ndarray,
    costs: Sequence[float],
    metric: str,
    positive: int | None,
    max_drop: float,
    delta: float,
    seed: int,
) -> Promise:
    """Go from strict to lax while the bootstrap's quantile of the metric's drop stays within ``max_drop``."""
    bootstrap = _Bootstrap(every, gold, metric, positive, seed)
    best, drop, bound = None, 0.0, 0.0
    for place, one in enumerate(exits):
        found, upper = bootstrap.drop(one, delta)
        if upper > max_drop:
            break
        saving = _saving(one, every, costs)
        if best is None or saving >= best[1]:
            best, drop, bound = (place, saving), found, upper
    place, saving = best if best is not None else (0, _saving(exits[0], every, costs))
    said = f"{policies[place].text} has an expected saving of {100 * saving:.1f} %"
    if best is None:
        drop, bound = bootstrap.drop(exits[0], delta)
        said = f"no policy stays within a drop of {100 * max_drop:g} %; the strictest, {said}"
    sentence = (
        f"{said}. Bootstrap estimate, not a certificate: on {every.rows:,} rows {metric} fell by {drop:.4f}, and by at "
        f"most {bound:.4f} in {1 - delta:.3g} of {_DRAWS} samples."
    )
    basis = "uncertified" if best is None else "estimate"
    known: dict[str, Any] = {"metric": metric, "max_drop": max_drop, "bound": None if best is None else bound}
    return _promise(every, policies[place], exits[place], basis, sentence, saving, delta=delta, **known)


class _Bootstrap:
    """Drops of a metric from the full model to exits, over the same drawn rows for every policy."""

    def __init__(self, every: EveryExit, gold: np.ndarray, metric: str, positive: int | None, seed: int) -> None:
        if metric not in METRICS or every.kind not in METRICS[metric].kinds:
            fitting = [name for name, one in METRICS.items() if every.kind in one.kinds and not one.of_documents]
            raise InputError(f"metric {metric!r} is not one for {every.kind}; choose from {', '.join(fitting)}")
        self._compute, self._gold, self._positive = METRICS[metric].compute, gold, positive
        self._answers = every.answers()
        generator = np.random.Generator(np.random.Philox(key=[seed, 0x45786974]))
        self._rows = [np.arange(every.rows), *generator.integers(0, every.rows, (_DRAWS, every.rows))]
        self._full = [self._score(self._answers[-1], rows) for rows in self._rows]
        if self._full[0] is None:
            note = self._compute(gold, self._answers[-1], positive).note
            raise InputError(
                f"{metric} is undefined on the calibration rows ({note}); give rows of which it is defined"
            )

    def _score(self, answers: np.ndarray, rows: np.ndarray) -> float | None:
        return self._compute(self._gold[rows], answers[rows], self._positive).value

    def drop(self, exits: np.ndarray, delta: float) -> tuple[float, float]:
        """Return the drop on all rows and its 1 - delta quantile; a sample without a score counts as the worst."""
        own = taken(self._answers, exits)
        if np.array_equal(own, self._answers[-1]):
            return 0.0, 0.0
        drops = []
        for full, rows in zip(self._full, self._rows, strict=True):
            found = self._score(own, rows)
            drops.append(math.inf if full is None or found is None else full - found)
        return drops[0], float(np.quantile(drops[1:], 1 - delta, method="higher"))

"""Losses that hold a classifier against an expert that knows the shortcut. Shapes: B rows, C classes.

Plain functions of tensors. Each gives a loss a row, never a mean, computed from log-probabilities in fp32 (or in fp64
where the logits are), with the parts that a report wants beside it. An expert's logits are constants; those of a bias
head on the same encoder learn too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bertwright.errors import RunError
from bertwright.recipe.debias_settings import Settings
from bertwright.training.losses import LossSum

# A similarity of 0 is taken to be this, as in the released code, so that its logarithm is a number.
_LEAST_RHO = 1e-10


@dataclass(frozen=True)
class RowLosses:
    """A loss a row, (B,), and named parts a row, (B,), that carry no gradient."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    def summed(self, count: int, row_weights: Tensor | None = None) -> LossSum:
        """Return the sum over the rows, as the loop takes it; ``row_weights``, (B,), multiply the losses."""
        rows = self.total if row_weights is None else self.total * row_weights
        return LossSum(rows.sum(), count)


def ce(logits: Tensor, labels: Tensor) -> RowLosses:
    """Cross entropy of logits (B, C) and labels (B,)."""
    loss = -_gold(_log(logits), labels)
    return _rows(loss, ce=loss)


def poe(logits: Tensor, expert: Tensor, labels: Tensor) -> RowLosses:
    """Product of experts (Hinton 2002; Guide the Learner, equation 1): cross entropy of the sum of log-probabilities.

    ``expert`` (B, C) are the expert's logits.
    """
    loss = _poe(_log(logits), _log(expert).detach(), labels)
    return _rows(loss, poe=loss)


def poe_ce(logits: Tensor, expert: Tensor, labels: Tensor, *, alpha: float) -> RowLosses:
    """Product of experts plus ``alpha`` times the cross entropy (Sanh et al. 2021): a sum, not a mix."""
    own = _log(logits)
    product, plain = _poe(own, _log(expert).detach(), labels), -_gold(own, labels)
    return _rows(product + alpha * plain, poe=product, ce=plain)


def guided(
    logits: Tensor,
    expert: Tensor,
    labels: Tensor,
    rho: Tensor,
    *,
    alpha: float,
    beta: float,
    mix: str = "power",
    exponent: str = "attached",
) -> RowLosses:
    """Guide the Learner, equations 4 and 5: product of experts in so far as both models look at the same tokens.

    ``rho`` (B,) is the similarity of their attributions, a constant within 0 and 1. The weight of the product is
    ``rho ** (p ** beta)``, where p is the probability that the product gives the gold label; ``mix`` names the forms
    of the released code (``MIXES``) and ``exponent`` says whether gradients flow through p ("attached", as released) or
    not ("detached").
    """
    own = _log(logits)
    product, plain = _poe(own, _log(expert).detach(), labels), -_gold(own, labels)
    weight = guidance(rho, product if exponent == "attached" else product.detach(), beta=beta, mix=mix)
    rest = 1.0 - weight
    if mix.endswith("-sum"):
        total = (product + alpha * plain) * weight + rest * plain
    else:
        total = weight * product + alpha * rest * plain
    return _rows(total, poe=product, ce=plain, rho=rho, weight=weight)


def guidance(rho: Tensor, product: Tensor, *, beta: float, mix: str = "power") -> Tensor:
    """Return the weight of the product of experts, (B,), for similarities and losses of the product, (B,) each.

    "power" is equation 5, ``rho ** exp(-beta * product)``; "complement" is ``1 - (1 - rho) * exp(-beta * product)``.
    Both are rho for a product that is right and certain, and 1 for one that is wrong.
    """
    known = rho.detach().to(product.dtype)
    share = torch.exp(-beta * product)
    if mix.startswith("complement"):
        return 1.0 - (1.0 - known) * share
    return torch.exp(share * known.clamp(_LEAST_RHO, 1.0).log())


def poe_e2e(
    logits: Tensor, bias: Tensor, labels: Tensor, *, bias_weight: float = 1.0, bias_gradient: str = "attached"
) -> RowLosses:
    """Product of experts with a bias head that learns at once (Karimi Mahabadi et al. 2020).

    ``bias`` (B, C) are the head's logits, which learn by ``bias_weight`` times their own cross entropy; and through the
    product too where ``bias_gradient`` is "attached", as published.
    """
    theirs = _log(bias)
    main = _poe(_log(logits), _held(theirs, bias_gradient), labels)
    own = -_gold(theirs, labels)
    return _rows(main + bias_weight * own, poe=main, bias_ce=own)


def dfl_e2e(
    logits: Tensor,
    bias: Tensor,
    labels: Tensor,
    *,
    gamma: float = 2.0,
    bias_weight: float = 1.0,
    bias_gradient: str = "attached",
) -> RowLosses:
    """Debiased focal loss: cross entropy times ``(1 - q) ** gamma``, q being what a bias head gives the gold label.

    The head, and ``bias_gradient``, are as in ``poe_e2e`` (Karimi Mahabadi et al. 2020).
    """
    theirs = _log(bias)
    weight = (-torch.expm1(_gold(_held(theirs, bias_gradient), labels))) ** gamma
    plain, own = -_gold(_log(logits), labels), -_gold(theirs, labels)
    return _rows(weight * plain + bias_weight * own, ce=plain, bias_ce=own, weight=weight)


def reweight(
    logits: Tensor,
    expert: Tensor,
    labels: Tensor,
    *,
    theta: float = 1.0,
    scale: str = "set",
    mean_weight: float = 1.0,
) -> RowLosses:
    """Cross entropy times ``(1 - q) ** theta``, q being what the expert gives the gold label (Utama et al. 2020).

    Weights are divided by a mean: by ``mean_weight``, that of ``1 - q`` over the training set (``scale`` "set", so that
    micro-batches sum up to their step), or by their own over these rows ("batch", as published).
    """
    weight = (-torch.expm1(_gold(_log(expert).detach(), labels))) ** theta
    plain = -_gold(_log(logits), labels)
    # An expert that is certain and right about every row leaves nothing to learn.
    tiny = torch.finfo(weight.dtype).tiny
    weight = weight / (weight.mean().clamp_min(tiny) if scale == "batch" else mean_weight)
    return _rows(weight * plain, ce=plain, weight=weight)


def confidence(logits: Tensor, expert: Tensor, teacher: Tensor, labels: Tensor) -> RowLosses:
    """Confidence regularisation (Utama et al. 2020): learn a teacher's answers, less certain where the expert is right.

    ``teacher`` (B, C) are the logits of a model trained with plain cross entropy; its probabilities are raised to the
    power ``1 - q``, q being what the expert gives the gold label, and made to sum to 1 again.
    """
    power = -torch.expm1(_gold(_log(expert).detach(), labels))
    goal = (power[:, None] * _log(teacher).detach()).softmax(-1)
    own = _log(logits)
    return _rows(-(goal * own).sum(-1), ce=-_gold(own, labels), weight=power)


def annealed(expert: Tensor, theta: float) -> Tensor:
    """Return an expert's logits, (B, C), with its probabilities raised to ``theta`` and made to sum to 1 again."""
    return _log(expert) * theta


Given = Mapping[str, Tensor]


@dataclass(frozen=True)
class Method:
    """A loss by name, and the tensors that it needs beside logits and labels.

    ``compute`` takes a batch's tensors, the settings, and how far annealing has come (1 without it).
    """

    compute: Callable[[Given, Settings, float], RowLosses]
    needs: tuple[str, ...] = ()


def _guided(g: Given, s: Settings, _: float) -> RowLosses:
    options = {"alpha": s.alpha, "beta": s.beta}
    return guided(g["logits"], g["expert"], g["labels"], g["rho"], mix=s.mix, exponent=s.exponent, **options)


def _dfl(g: Given, s: Settings, _: float) -> RowLosses:
    head = {"bias_weight": s.bias_weight, "gamma": s.gamma}
    return dfl_e2e(g["logits"], g["bias"], g["labels"], bias_gradient=s.bias_gradient, **head)


def _poe_e2e(g: Given, s: Settings, _: float) -> RowLosses:
    return poe_e2e(g["logits"], g["bias"], g["labels"], bias_weight=s.bias_weight, bias_gradient=s.bias_gradient)


def _reweight(g: Given, s: Settings, theta: float) -> RowLosses:
    mean = s.mean_weight
    return reweight(g["logits"], g["expert"], g["labels"], theta=theta, scale=s.scale, mean_weight=mean)


def _confidence(g: Given, _: Settings, theta: float) -> RowLosses:
    return confidence(g["logits"], annealed(g["expert"], theta), g["teacher"], g["labels"])


METHODS: dict[str, Method] = {
    "ce": Method(lambda g, s, _: ce(g["logits"], g["labels"])),
    "poe": Method(lambda g, s, theta: poe(g["logits"], annealed(g["expert"], theta), g["labels"]), ("expert",)),
    "poe-ce": Method(lambda g, s, _: poe_ce(g["logits"], g["expert"], g["labels"], alpha=s.alpha), ("expert",)),
    "guided": Method(_guided, ("expert", "rho")),
    "poe-e2e": Method(_poe_e2e, ("bias",)),
    "dfl-e2e": Method(_dfl, ("bias",)),
    "reweight": Method(_reweight, ("expert",)),
    "confidence": Method(_confidence, ("expert", "teacher")),
}


def row_losses(given: Mapping[str, Tensor], settings: Settings, *, theta: float = 1.0) -> RowLosses:
    """Compute the loss that ``settings`` name, from logits (B, C), labels (B,) and what its method needs beside them.

    ``expert`` and ``teacher`` (B, C) are logits of frozen models, ``bias`` (B, C) those of a bias head and ``rho``
    (B,) similarities; ``theta`` is where annealing has come to. ``RunError`` names what is missing.
    """
    method = METHODS[settings.method]
    missing = [name for name in ("logits", "labels", *method.needs) if name not in given]
    if missing:
        raise RunError(
            f"the loss {settings.method} needs {', '.join(missing)}, which a batch has not; found {', '.join(given)}"
        )
    return method.compute(given, settings, theta)


def _log(logits: Tensor) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.log_softmax(-1)


def _gold(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(-1, labels[:, None]).squeeze(-1)


def _poe(own: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
    return -_gold((own + theirs).log_softmax(-1), labels)


def _held(values: Tensor, gradient: str) -> Tensor:
    return values if gradient == "attached" else values.detach()


def _rows(total: Tensor, **parts: Tensor) -> RowLosses:
    return RowLosses(total, {name: part.detach() for name, part in parts.items()})

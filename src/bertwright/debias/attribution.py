"""Which tokens an answer hangs on: gradient x input, and how far two models look at the same ones.

Shapes: B rows, T positions, H width, C classes, U units (words, or tokens) of a row, P tokens of a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bertwright.encoder.models import Classifier
from bertwright.recipe.debias_settings import Attributing

# fp16 ends at 6e-8, where a small gradient would be lost; only proportions matter, so it is taken larger.
_SCALES = {torch.float16: 1024.0}


@dataclass(frozen=True)
class Attribution:
    """Logits (B, C), with their graph where asked for, and each token's saliency (B, T), fp32, 0 for padding."""

    logits: Tensor
    saliency: Tensor


def attribute(
    model: Classifier, batch: Mapping[str, Any], settings: Attributing | None = None, *, learning: bool = False
) -> Attribution:
    """Return a model's logits and, for each token, the L2 norm of gradient x input (Guide the Learner, equation 2).

    The gradient is that of the gold logit (``labels`` (B,) of the batch) or of the largest, before softmax, in respect
    of what enters the first layer, and of nothing else: no weight's gradient is computed and no ``.grad`` is touched.
    With ``learning`` the logits keep their graph, from the same pass or from one of their own (``settings.passes``);
    without, they are constants. Dropout is as the model's mode says, or off.
    """
    settings = settings or Attributing()
    one = learning and settings.passes == "one"
    was_training = model.training
    if settings.dropout == "off" and was_training:
        model.eval()
    try:
        with torch.enable_grad():
            found = _attribute(model, batch, settings, keep=one)
    finally:
        if model.training != was_training:
            model.train(was_training)
    if one or not learning:
        return found
    return Attribution(model(batch["ids"], batch["mask"], batch["segments"]), found.saliency)


def _attribute(model: Classifier, batch: Mapping[str, Any], settings: Attributing, *, keep: bool) -> Attribution:
    mask = batch["mask"]
    x, entering = _inputs(model, batch, settings.position)
    logits = model.head(model.encoder.run(entering, mask), mask)
    target = batch["labels"] if settings.target == "gold" else logits.detach().argmax(-1)
    scale = _SCALES.get(logits.dtype, 1.0)
    chosen = logits.gather(1, target[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen * scale if scale != 1.0 else chosen, x, retain_graph=keep)
    saliency = torch.linalg.vector_norm(gradient.float() * x.detach().float(), dim=-1) / scale
    if mask is not None:
        saliency = saliency * mask
    return Attribution(logits if keep else logits.detach(), saliency)


def _inputs(model: Classifier, batch: Mapping[str, Any], position: str) -> tuple[Tensor, Tensor]:
    """Return the vectors that the gradient is taken at, (B, T, H), and what enters the first layer, made of them."""
    ids, segments = batch["ids"], batch["segments"]
    if position == "embeddings":
        x = _tracked(model.encoder.embed(ids, segments))
        return x, x
    x = _tracked(model.encoder.embeddings.words(ids))
    return x, model.encoder.embeddings.placed(x, ids, segments)


def _tracked(x: Tensor) -> Tensor:
    """Return vectors that a gradient can be taken at, also where everything below them is frozen."""
    return x if x.requires_grad else x.detach().requires_grad_()


@dataclass(frozen=True)
class Similarity:
    """Cosines (B,), fp32, from 0 to 1; ``empty`` (B,) are rows without any saliency in a model, whose cosine is 0."""

    rho: Tensor
    empty: Tensor


def cosine(main: Tensor, expert: Tensor) -> Similarity:
    """Return the similarity of saliencies over the same units, (B, U) each, none below 0 (equation 3).

    A row without any saliency in a model shows no likeness: 0, as in the released code, and never a NaN.
    """
    main, expert = main.detach().float(), expert.detach().float()
    # A row's largest is 1 from here on, so that squares of small numbers do not vanish.
    main, expert = (one / one.amax(-1, keepdim=True).clamp_min(torch.finfo().tiny) for one in (main, expert))
    sizes = torch.linalg.vector_norm(main, dim=-1) * torch.linalg.vector_norm(expert, dim=-1)
    empty = sizes == 0
    rho = (main * expert).sum(-1) / sizes.masked_fill(empty, 1.0)
    return Similarity(rho.clamp(0.0, 1.0), empty)


def similarity(saliency: Tensor, batch: Mapping[str, Any]) -> Similarity:
    """Return how alike a model's saliency (B, T) is to an expert's, over the units that both saw.

    A batch has ``unit_tokens`` (B, U, P), the positions of each unit's tokens, ``unit_shares`` (B, U, P), how much of
    each is the unit's (0 where it has fewer tokens), and ``unit_expert`` (B, U), the expert's saliency (``alignment``).
    """
    tokens = batch["unit_tokens"]
    # Gathering adds in one order on every device; scattering would not.
    parts = saliency.gather(1, tokens.flatten(1)).view(tokens.shape)
    return cosine((parts * batch["unit_shares"]).sum(-1), batch["unit_expert"])

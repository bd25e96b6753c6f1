"""The seam of the training loop: a debiasing loss as ``loss(model, batch)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from bertwright.debias.attribution import attribute, similarity
from bertwright.debias.losses import METHODS, row_losses
from bertwright.recipe.debias_settings import Attributing, Settings
from bertwright.training.losses import Loss, LossSum


def objective(
    settings: Settings, attributing: Attributing | None = None, *, label_weights: Tensor | None = None
) -> Loss:
    """Return the loss that a training takes: sums over a micro-batch, to be divided by the whole step's count.

    A batch has what its method needs: ``expert`` (B, C), ``teacher`` (B, C), the units of ``similarity``, the
    ``bias_`` inputs of ``WithBiasHead``, and ``theta`` where annealing goes on (``debias.batches`` puts them there).
    ``label_weights`` (C,) multiply a row's loss by its gold label's.
    """
    needs = METHODS[settings.method].needs

    def loss(model: nn.Module, batch: Mapping[str, Any]) -> LossSum:
        inputs: dict[str, Tensor] = {name: batch[name] for name in ("labels", "expert", "teacher") if name in batch}
        if "rho" in needs:
            attribution = attribute(model, batch, attributing, learning=True)  # type: ignore[arg-type]
            inputs |= {"logits": attribution.logits, "rho": similarity(attribution.saliency, batch).rho}
        else:
            inputs["logits"] = model(batch["ids"], mask=batch["mask"], segments=batch["segments"])
        if "bias" in needs:
            inputs["bias"] = model.bias_logits(batch)  # type: ignore[operator]
        rows = row_losses(inputs, settings, theta=batch.get("theta", 1.0))
        weights = None if label_weights is None else label_weights.to(rows.total.device)[batch["labels"]]
        return rows.summed(batch["count"], weights)

    return loss

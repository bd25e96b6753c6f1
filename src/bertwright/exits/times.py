"""What leaving early saves by the clock: the whole model and policies in turn, row by row and 32 at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bertwright.encoder.models import Classifier
from bertwright.exits.compaction import ExitingClassifier
from bertwright.exits.policies import Policy
from bertwright.exits.ramps import Ramps
from bertwright.exits.savings import exit_counts, expected_saving
from bertwright.tasks.batches import Encoded, collate
from bertwright.training.feed import on_device

BATCHES = (1, 32)
_ROUNDS = 3


def measured_savings(
    model: Classifier, ramps: Ramps, policies: Sequence[Policy], rows: Encoded, count: int
) -> list[dict[str, Any]]:
    """Time policies against the plain model on the first ``count`` rows; a dict for each policy and batch.

    All work in turn, A B C A B C, so that a machine that slows down slows them alike; the medians are compared. The
    plain model is the classifier alone, without a look at any ramp.
    """
    layers, device = (*ramps.layers, ramps.config.layers), next(model.parameters()).device
    found = []
    for size in BATCHES:
        batches = _batches(rows, min(count, len(rows.ids)), size, device)
        models = [ExitingClassifier(model, ramps, policy) for policy in policies]
        left = [np.concatenate([one(*batch).layers for batch in batches]) for one in models]
        times: list[list[float]] = [[] for _ in range(len(models) + 1)]
        for _ in range(_ROUNDS):
            for place, one in enumerate([model, *models]):
                times[place].append(_seconds(one, batches, device))
        full, *own = (statistics.median(each) for each in times)
        for policy, seconds, exits in zip(policies, own, left, strict=True):
            counts = exit_counts(np.searchsorted(layers, exits), len(layers))
            found.append(
                {
                    "policy": policy.text,
                    "batch": size,
                    "rows": len(exits),
                    "seconds_full": full,
                    "seconds": seconds,
                    "measured": 1 - seconds / full,
                    "expected": expected_saving(counts, layers),
                }
            )
    return found


Batch = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]


def _batches(rows: Encoded, count: int, size: int, device: torch.device) -> list[Batch]:
    """Return the first rows as batches, those of like length together."""
    order = np.argsort(-rows.lengths[:count], kind="stable")
    made = []
    for start in range(0, count, size):
        batch = on_device(collate(rows, order[start : start + size]), device)
        made.append((batch["ids"], batch["mask"], batch["segments"]))
    return made


@torch.inference_mode()
def _seconds(model: Any, batches: Sequence[Batch], device: torch.device) -> float:
    begun = time.perf_counter()
    for ids, mask, segments in batches:
        found = model(ids, mask, segments)
        if isinstance(found, torch.Tensor):
            found.float().cpu()  # as an answer is wanted: on the host
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun

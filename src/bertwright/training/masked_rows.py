"""Prepared rows as steps of masked language modelling, and the rows that are kept back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from bertwright.text.tokenizer import Tokenizer
from bertwright.training.corruption import mask_tokens
from bertwright.training.feed import on_device
from bertwright.training.losses import masked_lm_loss
from bertwright.training.order import Order, Place

HELD_OUT_RATE = 0.15  # always the same, so that curves of different recipes compare
HELD_OUT_ROWS = 256  # most rows that a held-out loss is measured on
_HELD_OUT_EPOCH = 2**31 - 1  # the "epoch" whose masks the held-out rows carry; training never gets there


class Rows(Protocol):
    """Rows of ids by split and number; shards are."""

    def rows(self, split: str) -> int:
        """Return how many rows a split has."""

    def ids(self, split: str, chosen: np.ndarray) -> np.ndarray:
        """Return the ids of chosen rows, (n, T)."""


@dataclass(frozen=True)
class Masking:
    """What is masked: ``rate`` of the tokens, or from ``rate`` to ``end`` over the budget; ``whole_words`` or not.

    ``document_mask`` is about attention: a token sees its own document alone.
    """

    rate: float
    end: float | None = None
    whole_words: bool = False
    document_mask: bool = False

    def at(self, share: float) -> float:
        """Return the rate when ``share`` of the budget is used up."""
        return self.rate if self.end is None else self.rate + (self.end - self.rate) * min(1.0, share)


@dataclass(frozen=True)
class BatchSize:
    """Rows of an update: ``rows``, or growing to it in a straight line from ``start`` over the ``ramp`` share."""

    rows: int
    start: int | None = None
    ramp: float = 1.0

    def at(self, share: float) -> int:
        """Return the rows when ``share`` of the budget is used up."""
        if self.start is None or share >= self.ramp:
            return self.rows
        return self.start + int((self.rows - self.start) * share / self.ramp)


class MaskedRows:
    """Steps of rows, cut among ranks and into micro-batches: what ``training.feed`` calls batches."""

    def __init__(
        self, rows: Rows, tokenizer: Tokenizer, *, batch: BatchSize, micro_batch: int, masking: Masking, seed: int
    ) -> None:
        self.steps_per_epoch = max(1, rows.rows("train") // batch.rows)
        self._rows, self._tokenizer = rows, tokenizer
        self._batch, self._micro_batch, self._masking, self._seed = batch, micro_batch, masking, seed
        self._inside = tokenizer.inside_words() if masking.whole_words else None
        self._order = Order(rows.rows("train"), seed)

    def rows(self, place: Place) -> int:
        """Return how many rows the step at a place takes, over all ranks."""
        return self._batch.at(place.share)

    def step(self, place: Place, rank: int, world: int) -> Sequence[Mapping[str, Any]]:
        """Return this rank's micro-batches of a step; all ranks' together are the step's rows, each once."""
        chosen, epochs = self._order.take(place.row, place.row + self.rows(place))
        chosen, epochs = chosen[rank::world], epochs[rank::world]
        return [
            masked(
                self._rows,
                self._tokenizer,
                "train",
                chosen[start : start + self._micro_batch],
                epochs[start : start + self._micro_batch],
                rate=self._masking.at(place.share),
                seed=self._seed,
                inside=self._inside,
                apart=self._masking.document_mask,
            )
            for start in range(0, len(chosen), self._micro_batch)
        ]


def masked(
    rows: Rows,
    tokenizer: Tokenizer,
    split: str,
    chosen: np.ndarray,
    epochs: np.ndarray,
    *,
    rate: float,
    seed: int,
    inside: np.ndarray | None = None,
    apart: bool = False,
) -> dict[str, Any]:
    """Return one micro-batch of chosen rows (n,) in their epochs (n,), masked at ``rate``, ``inside`` as there.

    With ``apart`` a token sees its own document alone; without, all of its row.
    """
    ids = rows.ids(split, chosen)
    result = mask_tokens(
        ids,
        rows=chosen,
        epochs=epochs,
        seed=seed,
        rate=rate,
        mask_id=tokenizer.mask_id,
        special_ids=np.array(sorted(tokenizer.special_ids)),
        vocabulary=tokenizer.vocabulary,
        inside=inside,
    )
    real = torch.from_numpy(ids != tokenizer.pad_id)
    return {
        "ids": torch.from_numpy(result.ids),
        # Only the last row of a split is padded; without padding the mask is left out, which is faster.
        "mask": _documents(ids, real, tokenizer.sep_id) if apart else None if bool(real.all()) else real,
        "segments": None,
        "positions": torch.from_numpy(result.positions),
        "labels": torch.from_numpy(result.labels),
        "count": len(result.labels),
        "tokens": int(real.sum()),
    }


def _documents(ids: np.ndarray, real: torch.Tensor, sep_id: int) -> torch.Tensor:
    """Return the number of each token's document in its row, (n, T), -1 for padding: a document ends with its [SEP]."""
    ends = torch.from_numpy(ids == sep_id)
    return (ends.cumsum(dim=1) - ends.long()).masked_fill_(~real, -1).int()


def held_out_loss(
    model: nn.Module,
    rows: Rows,
    tokenizer: Tokenizer,
    *,
    micro_batch: int,
    device: torch.device,
    apart: bool = False,
) -> float:
    """Return the mean cross entropy, in nats, of at most 256 held-out rows at a fixed mask of 15 %."""
    count = min(HELD_OUT_ROWS, rows.rows("held_out"))
    chosen = np.linspace(0, rows.rows("held_out") - 1, count).astype(np.int64)
    total, labels = 0.0, 0
    for start in range(0, count, micro_batch):
        part = chosen[start : start + micro_batch]
        epochs = np.full(len(part), _HELD_OUT_EPOCH)
        batch = masked(rows, tokenizer, "held_out", part, epochs, rate=HELD_OUT_RATE, seed=0, apart=apart)
        if batch["count"]:
            total += float(masked_lm_loss(model, on_device(batch, device)).total)
            labels += batch["count"]
    return total / max(labels, 1)

"""What a loss against a shortcut made of single training rows: one pass after training, dropout off.

Written: ``examples.parquet``, a row for each of at most 5,000 drawn training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bertwright import files
from bertwright.debias.attribution import attribute, similarity
from bertwright.debias.bias_head import WithBiasHead
from bertwright.debias.losses import RowLosses, row_losses
from bertwright.stages.debiasing import Guide
from bertwright.stages.example_words import words_of_examples
from bertwright.stages.learning import Learnt
from bertwright.tasks.batches import collate
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows
from bertwright.training.feed import on_device

EXAMPLES = "examples.parquet"
_MOST = 5000
_BATCH = 64
_SHOWN = 3
_NO_LOSS = ("rho", "weight", "empty")


def write_examples(
    folder: Path, learnt: Learnt, guide: Guide, rows: Rows, labels: LabelMap, seed: int
) -> dict[str, Any]:
    """Write the examples; return means over them, and those that moved most, as plain values."""
    drawn = np.random.Generator(np.random.Philox(key=[seed, 1])).permutation(len(rows))[:_MOST]
    chosen = np.sort(drawn)
    columns = _columns(learnt, guide, chosen)
    names = labels.names or ()
    gold = [names[number] for number in learnt.rows.labels[chosen].tolist()]
    said = {name: [names[number] for number in columns.pop(name).tolist()] for name in ("answer", "expert_answer")}
    table = {
        "id": [rows.ids[row] for row in chosen.tolist()],
        "text": [list(rows.texts[row]) for row in chosen.tolist()],
        "gold": gold,
        **said,
        **columns,
    }
    with files.writing(folder / EXAMPLES) as stream:
        pq.write_table(pa.table(table), stream)
    down, rescued = _down_weighted(columns, gold, said), _rescued(columns, gold, said)
    told = np.unique(np.concatenate([down, rescued])).astype(np.int64)
    words = words_of_examples(learnt, guide, chosen[told]) if len(told) else {}
    table["words"] = {place: words[int(chosen[place])] for place in told.tolist()}
    means = {name: float(values.mean()) for name, values in columns.items()}
    return {
        **asdict(guide.settings),
        "rows": len(chosen),
        **{name: means[name] for name in _NO_LOSS if name in means},
        "losses": {name.removeprefix("loss_"): value for name, value in means.items() if name.startswith("loss")},
        "lost_units": guide.lost_units,
        "down_weighted": _told(table, down),
        "rescued": _told(table, rescued),
    }


def _columns(learnt: Learnt, guide: Guide, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Return what there is to say of rows, each (n,), in their order."""
    device = learnt.precision.device
    model = learnt.precision.copy_of(guide.around(learnt.model))
    order = chosen[np.argsort(-learnt.rows.lengths[chosen], kind="stable")]
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(order), _BATCH):
        batch = collate(learnt.rows, order[start : start + _BATCH])
        parts.append(_of_batch(model, guide, on_device({**batch, **guide.batches.beside(batch)}, device)))
    back = np.argsort(order, kind="stable")
    return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}


def _of_batch(model: Any, guide: Guide, batch: dict[str, Any]) -> dict[str, np.ndarray]:
    given: dict[str, torch.Tensor] = {name: batch[name] for name in ("labels", "expert", "teacher") if name in batch}
    extra: dict[str, torch.Tensor] = {}
    if guide.attributing is not None:
        looking = replace(guide.attributing, dropout="off", passes="two")
        found = attribute(model, batch, looking)
        alike = similarity(found.saliency, batch)
        given |= {"logits": found.logits, "rho": alike.rho}
        extra = {"empty": alike.empty.float()}
    with torch.no_grad():
        if "logits" not in given:
            given["logits"] = model(batch["ids"], mask=batch["mask"], segments=batch["segments"])
        if isinstance(model, WithBiasHead):
            given["bias"] = model.bias_logits(batch)
        losses = row_losses(given, guide.settings, theta=guide.settings.theta(1.0))
    other = given["bias"] if "bias" in given else given["expert"]
    return _plain(losses, given["logits"], other, batch["labels"], extra)


def _plain(
    losses: RowLosses, own: torch.Tensor, other: torch.Tensor, gold: torch.Tensor, extra: dict[str, torch.Tensor]
) -> dict[str, np.ndarray]:
    chances = [one.float().softmax(-1) for one in (own, other)]
    named = {name if name in _NO_LOSS else f"loss_{name}": part for name, part in {**losses.parts, **extra}.items()}
    found = {
        "answer": chances[0].argmax(-1),
        "expert_answer": chances[1].argmax(-1),
        "p_main": chances[0].gather(1, gold[:, None])[:, 0],
        "p_expert": chances[1].gather(1, gold[:, None])[:, 0],
        "loss": losses.total,
        **named,
    }
    return {name: value.detach().cpu().numpy() for name, value in found.items()}


def _down_weighted(columns: dict[str, np.ndarray], gold: Sequence[str], said: dict[str, list[str]]) -> np.ndarray:
    """Return the rows that the expert is right about and surest of: what the model need not learn from them."""
    right = np.array(gold) == np.array(said["expert_answer"])
    order = np.argsort(-np.where(right, columns["p_expert"], -1.0), kind="stable")
    return np.asarray(order[right[order]][:_SHOWN])


def _rescued(columns: dict[str, np.ndarray], gold: Sequence[str], said: dict[str, list[str]]) -> np.ndarray:
    """Return the rows that the model is right about against an expert that is wrong, the surest wrong first."""
    right = (np.array(gold) == np.array(said["answer"])) & (np.array(gold) != np.array(said["expert_answer"]))
    order = np.argsort(np.where(right, columns["p_expert"] - columns["p_main"], 2.0), kind="stable")
    return np.asarray(order[right[order]][:_SHOWN])


def _told(table: dict[str, Any], places: np.ndarray) -> list[dict[str, Any]]:
    names = ("id", "text", "words", "gold", "answer", "expert_answer")
    numbers = [name for name in ("p_main", "p_expert", "rho", "weight", "loss") if name in table]
    return [
        {**{name: table[name][place] for name in names}, **{name: float(table[name][place]) for name in numbers}}
        for place in places.tolist()
    ]

"""What a loss against a shortcut brings into a training, and what it made of each example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bertwright.debias import signals
from bertwright.debias.alignment import Aligned, Located, align, locate
from bertwright.debias.batches import SignalBatches
from bertwright.debias.bias_head import BiasHead, WithBiasHead
from bertwright.debias.expert_file import golds_of
from bertwright.debias.experts import partial
from bertwright.debias.losses import METHODS
from bertwright.debias.objective import objective
from bertwright.debias.quality import mean_weight
from bertwright.debias.signals import Signals
from bertwright.encoder.models import Classifier
from bertwright.recipe.debias import TEACHER
from bertwright.recipe.debias_settings import Attributing, Settings
from bertwright.stages.work import MODEL, SIGNALS
from bertwright.tasks.batches import Encoded, TrainBatches, lay_out
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows
from bertwright.tasks.task import Task
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.losses import Loss


@dataclass(frozen=True)
class Inside:
    """What an expert that was fitted saw of each row: its signals, in the order of the rows, and its tokenizer."""

    signals: Signals
    tokenizer: Tokenizer

    @property
    def columns(self) -> Sequence[int]:
        """Return which of the rows' columns it reads."""
        places: Sequence[int] = self.signals.about["places"]
        return places

    def located(self, texts: Sequence[tuple[str, ...]]) -> Located:
        """Return where the tokens of rows stand as it read them."""
        own, made = [tuple(row[place] for place in self.columns) for row in texts], self.signals.about
        return locate(own, self.tokenizer, max_length=made["max_length"], separators=made["separators"])


@dataclass(frozen=True)
class Guide:
    """A loss with the batches that it needs, and what learns: the model, or the model with a bias head."""

    settings: Settings
    attributing: Attributing | None
    loss: Loss
    batches: SignalBatches
    learner: nn.Module
    lost_units: int
    """Words, or tokens, that only one of the two models saw, because the other cut the text."""
    about: Learning
    inside: Inside | None = None
    """What the expert saw; ``None`` where a file of logits, or a bias head, is the expert."""

    def around(self, model: Classifier) -> nn.Module:
        """Return a model with the bias head, where there is one."""
        if isinstance(self.learner, WithBiasHead):
            return WithBiasHead(model, self.learner.bias_head.float())
        return model


@dataclass(frozen=True)
class Learning:
    """A training that is about to begin: its rows, read and laid out, and its model."""

    task: Task
    rows: Rows
    labels: LabelMap
    encoded: Encoded
    tokenizer: Tokenizer
    model: Classifier
    max_length: int


def guide(
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
    about: Learning,
    batches: TrainBatches,
    weights: np.ndarray | None,
) -> Guide:
    """Join signals to rows and return the loss that a run's options name; ``DataError`` where they do not fit."""
    settings = Settings(**options["loss"])
    looking = Attributing(**options["attributing"]) if "attributing" in options else None
    needs = METHODS[settings.method].needs
    names = about.labels.names or ()
    found = {role: joined(inputs[role] / SIGNALS, about.rows, names) for role in ("expert", TEACHER) if role in needs}
    if settings.method == "reweight" and settings.scale == "set":
        settings = replace(settings, mean_weight=mean_weight(found["expert"].logits, about.encoded.labels))
    inside = None
    if "expert" in found and found["expert"].saliency is not None:
        inside = Inside(found["expert"], Tokenizer.load(inputs["expert"] / MODEL))
    aligned = _aligned(inside, about, looking) if looking and inside else None
    part = None
    learner: nn.Module = about.model
    if "bias" in needs:
        texts, _ = partial(about.rows.texts, about.task.text, options["bias_columns"])
        config = about.model.encoder.config
        part = lay_out(texts, about.encoded.labels, about.tokenizer, config, about.max_length)
        learner = WithBiasHead(about.model, _bias_head(about.model, len(names), options["seed"]))
    given = SignalBatches(batches, about.encoded, settings, **found, aligned=aligned, partial=part)
    label_weights = None if weights is None else torch.tensor(weights).float()
    loss = objective(settings, looking, label_weights=label_weights)
    lost = 0 if aligned is None else int(aligned.lost.sum())
    return Guide(settings, looking, loss, given, learner, lost, about, inside)


def joined(path: Path, rows: Rows, names: Sequence[str]) -> Signals:
    """Return an expert's signals in the order of the rows that are learnt from; others that it knows are left out."""
    found, wanted = signals.read(path), set(rows.ids)
    some = [place for place, one in enumerate(found.ids) if one in wanted]
    part = found.some(np.array(some, dtype=np.int64))
    return signals.join(part, rows.ids, rows.texts, golds_of(rows), names, source=path)


def located(texts: Sequence[tuple[str, ...]], about: Learning) -> Located:
    """Return where the tokens of rows stand as the main model reads them."""
    config = about.model.encoder.config
    length = min(about.max_length, config.positions)
    return locate(texts, about.tokenizer, max_length=length, separators=config.separators)


def _aligned(inside: Inside, about: Learning, looking: Attributing) -> Aligned:
    """Lay an expert's saliency beside the main model's tokens, whatever the tokenizer of each."""
    texts, saliency = about.rows.texts, inside.signals.saliency
    return align(
        *(located(texts, about), inside.located(texts)),
        np.zeros(0) if saliency is None else saliency.astype(np.float32),
        texts,
        columns=inside.columns,
        compare=looking.compare,
        specials=looking.specials,
    )


def _bias_head(model: Classifier, classes: int, seed: int) -> BiasHead:
    """Draw a bias head, the same one for a seed, and leave the generators as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BiasHead(model.encoder.config.width, classes, dropout=model.encoder.config.dropout)

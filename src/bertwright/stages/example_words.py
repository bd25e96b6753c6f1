"""Words of the examples that a report shows, with how much of the model's answer and of the expert's hangs on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bertwright.debias.attribution import attribute
from bertwright.debias.words import Looked, Word, words_of
from bertwright.recipe.debias_settings import Attributing
from bertwright.stages.debiasing import Guide, located
from bertwright.stages.learning import Learnt
from bertwright.tasks.batches import collate
from bertwright.training.feed import on_device


def words_of_examples(learnt: Learnt, guide: Guide, numbers: np.ndarray) -> dict[int, list[list[Any]]]:
    """Return, for the rows of these numbers, a list for each word: column, first character, one past its last, shares.

    Shares are those of the model and of the expert, 1 for a row's largest; ``None`` where one does not see the word. A
    loss that compares no attributions has them taken here, of the gold logit.
    """
    texts = [guide.about.rows.texts[row] for row in numbers.tolist()]
    looking = replace(guide.attributing or Attributing(), dropout="off", passes="two")
    model = guide.around(learnt.model).to(learnt.precision.device).eval()
    batch = on_device(dict(collate(learnt.rows, numbers)), learnt.precision.device)
    seen = attribute(model, batch, looking).saliency.cpu().numpy()  # type: ignore[arg-type]
    saliency = [seen[place, :length] for place, length in enumerate(learnt.rows.lengths[numbers].tolist())]
    main = Looked(located(texts, guide.about), np.concatenate(saliency), range(len(texts[0])))
    found = words_of(texts, main, _of_expert(guide, texts, numbers))
    return {row: [_plain(word) for word in words] for row, words in zip(numbers.tolist(), found, strict=True)}


def _of_expert(guide: Guide, texts: Sequence[tuple[str, ...]], numbers: np.ndarray) -> Looked | None:
    if guide.inside is None:
        return None
    saliency = guide.inside.signals.some(numbers).saliency
    own = np.zeros(0) if saliency is None else saliency.astype(np.float32)
    return Looked(guide.inside.located(texts), own, guide.inside.columns)


def _plain(word: Word) -> list[Any]:
    shares = (None if one is None else round(one, 3) for one in (word.main, word.expert))
    return [word.column, word.start, word.end, *shares]

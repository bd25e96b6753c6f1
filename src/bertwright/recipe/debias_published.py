"""What papers on debiasing published, by name: losses, experts and trainings, with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bertwright.recipe.debias_settings import Attributing, Settings


@dataclass(frozen=True)
class Published:
    """What a paper trained with: its loss, its attributions where it has some, the rest as plain words, its source."""

    settings: Settings
    source: str
    expert: str
    attributing: Attributing | None = None
    training: Mapping[str, float | str] = field(default_factory=dict)


# Training mode, gold logit, all tokens, whatever the tokens are: bert_w_weak.py of the released code.
_RELEASED = Attributing(specials="in", compare="tokens")
_NLI_EXPERT = "BERT of 2 layers x 128 fine-tuned on the same rows, 3 epochs, batch 32, learning rate 3e-5"
_MNLI = {"epochs": 3, "batch": 32, "learning_rate": 3e-5, "warmup_steps": 1200, "max_length": 128, "weight_decay": 0.0}
_GUIDE = "Guide the Learner (EACL 2023)"
_MAHABADI = "End-to-End Bias Mitigation by Modelling Biases in Corpora (Karimi Mahabadi et al., ACL 2020), robust-nli"
_UTAMA = (
    "Mind the Trade-off: Debiasing NLU Models without Degrading the In-distribution Performance (Utama et al. 2020)"
)
_SANH = "Learning from others' mistakes (Sanh et al., ICLR 2021); its training settings were not released"
_SHARED_HEAD = "a bias head on the same encoder, which sees the hypothesis (or the claim) alone and does not move it"
_FEVER_E2E = {"epochs": 3, "batch": 32, "learning_rate": 2e-5, "max_length": 128}

PUBLISHED: Mapping[str, Published] = {
    "guide-the-learner-mnli": Published(
        Settings("guided", alpha=1.0, beta=1.0),
        f"{_GUIDE}, section 4; released code",
        _NLI_EXPERT,
        _RELEASED,
        _MNLI,
    ),
    "guide-the-learner-fever": Published(
        Settings("guided", alpha=0.3, beta=0.1),
        f"{_GUIDE}, section 4; how claims are aligned was not released",
        "BERT-base fine-tuned on the claim alone; similarity over the claim's tokens",
        Attributing(),
        {**_MNLI, "learning_rate": 2e-5},
    ),
    "sanh-poe": Published(Settings("poe"), _SANH, _NLI_EXPERT),
    "sanh-poe-ce": Published(
        Settings("poe-ce", alpha=1.0), f"{_SANH}, nor its weight of the cross entropy", _NLI_EXPERT
    ),
    "mahabadi-poe": Published(Settings("poe-e2e"), _MAHABADI, _SHARED_HEAD, training=_FEVER_E2E),
    "mahabadi-dfl": Published(Settings("dfl-e2e", gamma=2.0), _MAHABADI, _SHARED_HEAD, training=_FEVER_E2E),
    "utama-reweight": Published(
        Settings("reweight", scale="batch"), _UTAMA, "BERT-base fine-tuned on 2000 rows, 5 epochs"
    ),
    "utama-confidence": Published(
        Settings("confidence"),
        f"{_UTAMA}; the teacher is plain BERT-base",
        "BERT-base fine-tuned on 2000 rows, 5 epochs",
    ),
}
"""Settings by the name of what was published."""


GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "guide-the-learner": {"alpha": (0.01, 0.1, 0.2, 0.3, 0.5, 1.0), "beta": (0.1, 0.3, 0.5, 1.0)},
}
"""What a paper searched its loss's settings in, by the paper's name."""

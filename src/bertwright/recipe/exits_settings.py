"""How ramps are trained: the published systems' settings by name, and ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RampSettings:
    """One way to train ramps: ``routine`` is one of ``losses.ROUTINES``, ``form``, ``pooling`` and ``start`` are of the
    choices in ``ramps``, ``policy`` a usual one, as it is written."""

    routine: str
    form: str
    pooling: str
    start: str
    learning_rate: float
    batch: int
    epochs: float
    policy: str
    source: str
    scored: bool = False
    weight_decay: float = 0.0
    warmup: float = 0.0
    schedule: str = "linear"
    clip: float | None = 1.0


SETTINGS: dict[str, RampSettings] = {
    "bertwright": RampSettings(
        *("two-stage", "linear", "mean", "fresh", 1e-3, 32, 10, "entropy:0.2"),
        source=(
            "ours: a linear layer on the mean of all tokens, which knows more in low layers than the first token does; "
            "kept states make an epoch cheap, so there are more of them, at a rate that new layers bear"
        ),
    ),
    "deebert": RampSettings(
        *("two-stage", "pooler", "head", "tuned", 2e-5, 8, 3, "entropy:0.2"),
        source=(
            "Xin et al. 2020 and its scripts: 2e-5, batches of 8, 3 epochs (RoBERTa: 10), linear decay, no warm-up, no "
            "weight decay, clipped at 1. Here the backbone is frozen in earnest and without dropout, the poolers start "
            "from the tuned one (there: the pretrained), and no untrained ramp stands after the last layer"
        ),
    ),
    "berxit": RampSettings(
        *("alternate", "pooler", "head", "tuned", 2e-5, 8, 3, "learned:0.9"),
        source=(
            "Xin et al. 2021: alternating losses, a learned score, 2e-5, batches of 8; epochs as DeeBERT's. "
            "Here parity is that of the whole training's steps (there: it begins anew each epoch)"
        ),
        scored=True,
    ),
    "pabee": RampSettings(
        *("weighted", "linear", "head", "fresh", 2e-5, 32, 5, "patience:6"),
        source=(
            "Zhou et al. 2020 and its scripts: losses weighted by layer, 2e-5, batches of 32, 5 epochs, patience 3 to "
            "8. There all exits share one trained pooler, here a ramp is a linear layer on the first token"
        ),
    ),
}

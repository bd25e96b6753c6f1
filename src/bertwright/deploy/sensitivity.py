"""Which layers lose in int8, and which have to stay fp32 for answers to stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bertwright.deploy.proof import Probe, ask
from bertwright.deploy.runtime import Runtime


@dataclass(frozen=True)
class Harm:
    """What one segment alone in int8 does to answers: the mean change of a logit, and the share of other answers."""

    segment: int
    layers: tuple[int, ...]
    change: float
    other_answer: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Chosen:
    """Segments that stay fp32, and the share of other answers that is left."""

    segments: tuple[int, ...]
    other_answer: float


class Scan:
    """Two exports of one encoder, cut alike, in fp32 and int8, and rows to compare them on.

    Rows run through all layers, so that a change is seen and not an exit.
    """

    def __init__(self, exact: Runtime, small: Runtime, probes: Sequence[Probe]) -> None:
        self._exact, self._small, self._probes = exact, small, probes
        self._want = self._answers(())

    def harms(self) -> tuple[Harm, ...]:
        """Return each segment's harm, in their order."""
        found = []
        for number, segment in enumerate(self._exact.manifest.segments):
            change, other = self._apart(self._answers((number,)))
            found.append(Harm(number, segment.layers, change, other))
        return tuple(found)

    def choose(self, harms: Sequence[Harm], most: float) -> Chosen:
        """Keep the worst segments fp32, one more at a time, until at most a share ``most`` of answers is another."""
        order = sorted(harms, key=lambda harm: -harm.change)
        for count in range(len(order) + 1):
            kept = tuple(sorted(harm.segment for harm in order[:count]))
            small = tuple(harm.segment for harm in harms if harm.segment not in kept)
            _, other = self._apart(self._answers(small))
            if other <= most:
                break
        return Chosen(kept, other)

    def _answers(self, small: Sequence[int]) -> list[tuple[np.ndarray, list[Any]]]:
        runtime = self._exact.mixed_with(self._small, small)
        answers = [ask(runtime, probe, "never") for probe in self._probes]
        return [(np.array([one.logits for one in own]), [one.label for one in own]) for own in answers]

    def _apart(self, got: list[tuple[np.ndarray, list[Any]]]) -> tuple[float, float]:
        changes, others, rows = 0.0, 0, 0
        for (logits, labels), (exact, wanted) in zip(got, self._want, strict=True):
            changes += float(np.abs(logits - exact).mean()) * len(labels)
            numbers = isinstance(labels[0], float)
            others += 0 if numbers else sum(a != b for a, b in zip(labels, wanted, strict=True))
            rows += len(labels)
        return changes / rows, others / rows

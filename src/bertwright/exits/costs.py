"""What a layer costs for so many rows, measured: whether it pays to pack rows together, and what each exit costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from bertwright.encoder.models import Classifier
from bertwright.exits.ramps import Ramps, seeing

_TURNS = 5


@dataclass(frozen=True)
class Costs:
    """Seconds of work at one length: ``block`` and ``gather`` are (fixed, for each row); the others are for one row.

    ``gather`` packs the rows that stay. On a GPU a layer's fixed part is most of it until some number of rows, so that
    packing then saves nothing.
    """

    block: tuple[float, float]
    gather: tuple[float, float]
    embeddings: float
    ramp: float
    head: float

    def pays(self, rows: int, left: int, layers: int) -> bool:
        """Whether packing ``left`` of ``rows`` rows saves more in the ``layers`` to come than it costs."""
        return self.block[1] * (rows - left) * layers > self.gather[0] + self.gather[1] * left

    def of_exits(self, layers: tuple[int, ...]) -> tuple[float, ...]:
        """Return the seconds that leaving at each exit takes, (E,), one row alone; ``layers`` (E,) run until it."""
        block = sum(self.block)
        found = [self.embeddings + layer * block + place * self.ramp for place, layer in enumerate(layers, 1)]
        return (*found[:-1], found[-1] + self.head - self.ramp)


def measure(classifier: Classifier, ramps: Ramps, length: int, *, rows: int = 32) -> Costs:
    """Time the parts of a model on drawn tokens, rows of ``length`` tokens, one row and ``rows`` of them; medians."""
    encoder, device = classifier.encoder, classifier.head.output.weight.device
    length = min(length, encoder.config.positions)
    ids = torch.randint(0, encoder.config.vocabulary, (rows, length), device=device)
    block, ramp = encoder.blocks[len(encoder.blocks) // 2], ramps.parts()[0]
    see = seeing(encoder, ramps.pooling)
    with torch.inference_mode():
        many, one = encoder.embed(ids), encoder.embed(ids[:1])
        context = encoder.context(length, None, one.dtype, device)
        half = torch.arange(0, rows, 2, device=device)
        first = half[:1]
        blocks = [_median(partial(block, x, context), device) for x in (one, many)]
        gathers = [_median(partial(many.index_select, 0, own), device) for own in (first, half)]
        return Costs(
            block=_line(1, blocks[0], rows, blocks[1]),
            gather=_line(1, gathers[0], len(half), gathers[1]),
            embeddings=_median(lambda: encoder.embed(ids[:1]), device),
            ramp=_median(lambda: ramp(see(one, None)).logits.float().cpu().numpy(), device),
            head=_median(lambda: classifier.head(encoder.final_norm(one)), device),
        )


def _line(few: int, seconds_of_few: float, many: int, seconds_of_many: float) -> tuple[float, float]:
    """Return the fixed part and the part for each row of a straight line through two times, neither below 0."""
    each = max(0.0, (seconds_of_many - seconds_of_few) / max(many - few, 1))
    return max(0.0, seconds_of_few - each * few), each


def _median(work: Callable[[], object], device: torch.device) -> float:
    def turn() -> float:
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    turn()
    return statistics.median(turn() for _ in range(_TURNS))

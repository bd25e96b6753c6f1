"""Where the rows of each pack leave, held against its calibration: the warning that text has changed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bertwright.deploy.ramps import layers_of
from bertwright.exits.policies import counts_of
from bertwright.pack import Pack

if TYPE_CHECKING:
    from bertwright.exits.drift import Drift

_LEAST_ROWS = 100  # fewer tell nothing, and would warn of a morning's chance


@dataclass
class _Exits:
    """A pack's exits: how many calibration rows left after each layer, and how many rows have since."""

    calibrated: Mapping[int, int]
    found: Counter[int] = field(default_factory=Counter)


class ExitWatch:
    """Counts the layers that answers come from, by pack; any thread may write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: dict[str, _Exits] = {}

    def begin(self, name: str, calibrated: Mapping[int, int]) -> None:
        """Count anew for a pack that was taken up; ``calibrated`` is ``calibration_exits`` of it."""
        with self._lock:
            self._packs[name] = _Exits(calibrated)

    def end(self, name: str) -> None:
        """Forget a pack."""
        with self._lock:
            self._packs.pop(name, None)

    def left(self, name: str, layer: int) -> None:
        """Note that a row left after a layer."""
        with self._lock:
            if name in self._packs:
                self._packs[name].found[layer] += 1

    def drifts(self) -> dict[str, Drift]:
        """Return the comparison of each pack that has a calibration and enough rows since it was taken up."""
        with self._lock:
            known = {
                name: (list(own.calibrated.values()), [own.found[layer] for layer in own.calibrated])
                for name, own in self._packs.items()
            }
        telling = {name: both for name, both in known.items() if sum(both[1]) >= _LEAST_ROWS}
        if not telling:
            return {}
        # scipy takes seconds and 40 MB; a server without calibrated packs needs none of it.
        from bertwright.exits.drift import drift

        return {name: drift(*both) for name, both in telling.items()}


def calibration_exits(pack: Pack) -> dict[int, int]:
    """Return how many calibration rows left after each layer, rising, by a pack's header; empty where it tells not."""
    layers, counts = sorted({*layers_of(pack), int(pack.backbone.shape["layers"])}), counts_of(pack.policy)
    return dict(zip(layers, counts, strict=True)) if len(layers) == len(counts) else {}

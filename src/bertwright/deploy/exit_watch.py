"""Where the rows of each pack leave, held against its calibration: the warning that text has changed."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bertwright.pack import Pack

if TYPE_CHECKING:
    from bertwright.exits.drift import Drift

_LEAST_ROWS = 100  # fewer tell nothing, and would warn of a morning's chance


@dataclass
class _Exits:
    """A pack's exits: the layers and how many calibration rows left at each; nothing where it was not calibrated."""

    layers: tuple[int, ...] = ()
    calibrated: tuple[int, ...] = ()
    found: Counter[int] = field(default_factory=Counter)


class ExitWatch:
    """Counts the layers that answers come from, by pack; any thread may write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: dict[str, _Exits] = {}

    def begin(self, name: str, pack: Pack) -> None:
        """Count anew for a pack that was taken up; its header's policy brings the calibration's counts."""
        layers, counts = exit_layers(pack), tuple((pack.policy or {}).get("counts") or ())
        fits = len(layers) == len(counts) and sum(counts) > 0
        with self._lock:
            self._packs[name] = _Exits(layers, counts) if fits else _Exits()

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
                name: (one.calibrated, [one.found[layer] for layer in one.layers]) for name, one in self._packs.items()
            }
        telling = {name: both for name, both in known.items() if sum(both[1]) >= _LEAST_ROWS}
        if not telling:
            return {}
        # scipy takes seconds and 40 MB; a server without calibrated packs needs none of it.
        from bertwright.exits.drift import drift

        return {name: drift(*both) for name, both in telling.items()}


def exit_layers(pack: Pack) -> tuple[int, ...]:
    """Return the layers after which rows of a pack may leave: those of its ramps, and the last."""
    inner = {int(layer) for layer in (name.partition("/")[0] for name in pack.ramps) if layer.isdigit()}
    return tuple(sorted(inner | {int(pack.backbone.shape["layers"])}))

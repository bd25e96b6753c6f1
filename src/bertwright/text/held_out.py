"""Which documents are kept back to measure the loss: by the hash of their text, at least one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bertwright.text.shuffle import mix

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """The documents held out, (n,); with a single document ``tail`` is set, and its last rows are held out instead."""

    documents: Flags
    tail: bool


def choose_held_out(hashes: npt.NDArray[np.uint64], there: Flags, *, seed: int, share: float) -> HeldOut:
    """Hold out about ``share`` of the documents that are ``there``, at least one, and leave at least one.

    It hangs on a document's own text (``hashes``, n x 2) and the seed: so it is the same in whatever order and beside
    whatever other documents a text stands, and two copies of a text are never on both sides.
    """
    drawn = mix(hashes[:, 0] ^ mix(np.array([seed], dtype=np.uint64))) / 2.0**64
    held = (drawn < share) & there
    places = np.flatnonzero(there)
    if len(places) < 2:
        return HeldOut(np.zeros(len(there), dtype=bool), tail=True)
    if not held.any():
        held[places[np.argmin(drawn[places])]] = True
    elif held[places].all():
        held[places[np.argmax(drawn[places])]] = False
    return HeldOut(held, tail=False)


def tail_rows(rows: int, share: float) -> int:
    """Return how many of a single document's rows are held out: the share, and at least one."""
    return max(1, round(share * rows))

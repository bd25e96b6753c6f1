"""Which documents are kept back to measure the loss: by the hash of a document's number, at least one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import xxhash

from bertwright.text.rows import Ids

_WHOLE = 1 << 64


@dataclass(frozen=True)
class HeldOut:
    """The rule of one corpus: ``share`` of the documents, or ``only`` the one of this number.

    With a single document ``tail`` is set: then it is the last rows of that document, and no whole one.
    """

    seed: int
    share: float
    only: int | None = None
    tail: bool = False

    def takes(self, number: int) -> bool:
        """Return whether the document of this number (from 0) is kept back."""
        if self.tail:
            return False
        return number == self.only if self.only is not None else draw(self.seed, number) < self.share

    def deal(self, number: int, ids: Ids, piece: int) -> dict[str, Ids]:
        """Return a document's ids by split; ``piece`` is the number of them that a row takes.

        Of a single document the share of its rows, and at least the last one, is held out.
        """
        if not self.tail:
            return {"held_out" if self.takes(number) else "train": ids}
        rows = -(-len(ids) // piece)
        cut = max(0, rows - max(1, round(self.share * rows))) * piece
        return {"train": ids[:cut], "held_out": ids[cut:]}


def draw(seed: int, number: int) -> float:
    """Return a number of [0, 1) that hangs on the seed and the document's number alone."""
    return xxhash.xxh3_64_intdigest(f"{seed}:{number}".encode()) / _WHOLE


def choose_held_out(documents: Iterable[object], *, seed: int, share: float) -> HeldOut:
    """Return a rule that leaves at least one document on each side, or cuts a single one.

    Looks at documents only until both sides have one, which is soon in all but small corpora.
    """
    plain = HeldOut(seed, share)
    seen = [False, False]
    least, lowest = 0, 2.0
    number = -1
    for number, _ in enumerate(documents):
        drawn = draw(seed, number)
        seen[drawn < share] = True
        if all(seen):
            return plain
        if drawn < lowest:
            least, lowest = number, drawn
    return HeldOut(seed, share, only=least) if number > 0 else HeldOut(seed, share, tail=True)

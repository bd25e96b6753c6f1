"""What may be done to a document's text before anything else; each thing is off unless the recipe asks for it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bertwright.text.documents import documents, ignore
from bertwright.text.sources import TextFile
from bertwright.text.troubles import TOO_LONG, Limit, Span, Troubles

# C0 and C1 controls but for whitespace, and the invisible characters that only direct or join others.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
TOO_SHORT = "documents shorter than asked for, left out"


@dataclass(frozen=True)
class Cleaning:
    """``nfc`` composes characters (Unicode's NFC); ``control`` removes control characters; lengths are in characters.

    A document shorter than ``shortest`` or longer than ``longest`` (None: any) is left out and counted.
    """

    nfc: bool = False
    control: bool = False
    shortest: int = 1
    longest: int | None = None

    def clean(self, text: str) -> str:
        """Return a normalised text as the recipe wants it; it is normalised again where something was removed."""
        if self.control and _CONTROL.search(text):
            text = " ".join(_CONTROL.sub("", text).split())
        # After the controls: one between a letter and its accent would keep them apart.
        if self.nfc and not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
        return text

    def documents(
        self,
        file: TextFile,
        *,
        errors: str,
        broken_rows: str,
        troubles: Troubles,
        room: int | None,
        progress: Callable[[int], None] = ignore,
        span: Span | None = None,
        seen: Callable[[str], None] = ignore,
    ) -> Iterator[str]:
        """Give a file's documents as the recipe wants them; what is left out is counted.

        ``room`` is what there is memory for, in bytes of a document (None: no bound); the rest is as in ``documents``.
        """
        found = documents(
            file,
            errors=errors,
            broken_rows=broken_rows,
            troubles=troubles,
            progress=progress,
            span=span,
            limit=self._limit(room),
            seen=seen,
        )
        for text in found:
            clean = self.clean(text)
            fault = self.fault(clean)
            if fault:
                troubles.count(fault)
            else:
                yield clean

    def _limit(self, room: int | None) -> Limit:
        """Return how long a document may be where ``room`` bytes are all that there is memory for (None: no bound).

        Its whitespace and what is removed may be much of a document, so one that is to be left out unread has to be
        far longer than asked for.
        """
        most = None if self.longest is None else 16 * self.longest
        return Limit(most, leave_out=True) if most is not None and (room is None or most <= room) else Limit(room)

    def fault(self, text: str) -> str | None:
        """Return why a text is left out, or None."""
        if len(text) < self.shortest:
            return TOO_SHORT
        return TOO_LONG if self.longest is not None and len(text) > self.longest else None

"""What cannot be read as it is: stop with a clear sentence, or go on, count and list, as the recipe says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bertwright.errors import DataError
from bertwright.text.sources import TextFile

EMPTY = "no text in the row"
REPLACED = "bytes that are not UTF-8, replaced"
TOO_LONG = "documents longer than asked for, left out"
# More broken rows than this are counted and no longer listed, so that a corpus of nothing else cannot fill the memory.
_MOST_LISTED = 100_000
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class BrokenRow:
    """A row that was left out: its file, its number (a line, from 1; in parquet a row, from 1) and the reason."""

    path: Path
    row: int
    reason: str


@dataclass
class Troubles:
    """Broken rows one by one (the first hundred thousand), and the count of every reason, replaced bytes included."""

    rows: list[BrokenRow] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=Counter)

    def count(self, reason: str, times: int = 1) -> None:
        """Count something that is not a broken row."""
        if times:
            self.counts[reason] = self.counts.get(reason, 0) + times

    def add(self, row: BrokenRow) -> None:
        """Count a broken row and list it."""
        self.count(row.reason)
        if len(self.rows) < _MOST_LISTED:
            self.rows.append(row)


@dataclass(frozen=True)
class Span:
    """The part of a file from ``start`` to ``end`` (bytes, unpacked; in parquet row groups), to its end where None.

    Bytes begin and end where documents, lines or rows do; those of a packed file lie unpacked in ``piece``.
    """

    start: int = 0
    end: int | None = None
    piece: Path | None = None


@dataclass(frozen=True)
class Limit:
    """The most bytes of one document, as it is read (off: any); a longer one stops the work or is left out.

    What does not fit into the memory stops the work, what is longer than the recipe wants is left out: so what comes of
    a text never hangs on the memory.
    """

    bytes: int | None = None
    leave_out: bool = False


@dataclass(frozen=True)
class Reading:
    """How a file, or a part of it, is read: what becomes of faults, where they are noted, who is told how far it is.

    ``errors`` is ``stop`` or ``replace``, ``broken_rows`` is ``stop`` or ``skip``; ``progress`` takes the number of
    bytes read of the file as it lies on the disk.
    """

    file: TextFile
    errors: str
    broken_rows: str
    troubles: Troubles
    progress: Callable[[int], None]
    span: Span = field(default_factory=Span)
    limit: Limit = field(default_factory=Limit)

    def decode(self, content: bytes, *, place: str, offset: int = 0) -> str:
        """Return UTF-8 bytes as text; the first of them is number ``offset`` of ``place``.

        Wrong bytes are replaced and counted (each run that Unicode replaces by one mark as one), or ``DataError``.
        """
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.errors == "replace":
                text = content.decode("utf-8", errors="replace")
                given = content.count(_REPLACEMENT.encode())
                self.troubles.count(REPLACED, text.count(_REPLACEMENT) - given)
                return text
            raise DataError(
                f"{self.file.path}: byte {offset + error.start} of {place} (0x{content[error.start]:02x}) is not "
                "UTF-8. Convert the file (for instance `iconv -f latin1 -t utf-8`), or, for text of `prepare`, set its "
                "`errors: replace` to have such bytes replaced and counted."
            ) from error

    def over(self, count: int) -> bool:
        """Return whether so many bytes are more than a document may have and it is to be left out, or stop."""
        if self.limit.bytes is None or count <= self.limit.bytes:
            return False
        if not self.limit.leave_out:
            raise DataError(
                f"{self.file.path}: a document has more than {self.limit.bytes / 1e6:.1f} MB, the most that "
                "`system.memory` leaves room for. Allow more memory, part the text into documents, or set "
                "`prepare.longest` to have such documents left out and counted."
            )
        return True

    def broken(self, row: int, reason: str) -> None:
        """Note a broken row, or stop at it with ``DataError``."""
        if self.broken_rows == "stop":
            raise DataError(
                f"{self.file.path}: line {row}: {reason}. Mend it, or set `broken_rows: skip` to have such rows left "
                "out and listed."
            )
        self.troubles.add(BrokenRow(self.file.path, row, reason))

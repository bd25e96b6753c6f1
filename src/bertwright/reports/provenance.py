"""Where results come from: each stage's identity and what it was made from, and checksums of the files."""

from __future__ import annotations

from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import ABSENT

SHORT = 12
"""Digits of an identity or checksum that are shown; ``report.json`` has all."""

_MOST = 40  # files of one text or task that are named


def data_files(run: RunRecords) -> dict[tuple[str, str], str]:
    """Return the checksum of each of the user's files by (of a task, or the text; label), each once.

    Labels are those of the stages: a source's path, ``train``, ``set dev``.
    """
    found: dict[tuple[str, str], str] = {}
    for record in run.stages:
        if record["kind"] == "overlap":
            continue  # it reads what others read, under labels of its own
        of = record["results"].get("task") or "text"
        for label, checksum in ((record.get("parts") or {}).get("contents") or {}).items():
            found.setdefault((of, label), checksum)
    return found


def provenance_tables(run: RunRecords) -> list[Table]:
    """Return identities and checksums; those that have nothing to tell are left out."""
    return [table for table in (_identities(run), _data(run)) if table.rows]


def _identities(run: RunRecords) -> Table:
    cells = tuple(
        (
            record["name"],
            record["identity"][:SHORT],
            ", ".join(
                f"{role}: {entry.get('stage') or 'a folder that was given'}"
                for role, entry in ((record.get("parts") or {}).get("inputs") or {}).items()
            )
            or ABSENT,
        )
        for record in run.stages
    )
    caption = (
        f"The first {SHORT} digits of each stage's identity: a hash of its options, its inputs' identities and the "
        "contents of the files that it read. The same identity is the same work."
    )
    return Table("Stages and identities", ("stage", "identity", "made from"), cells, caption)


def _data(run: RunRecords) -> Table:
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for (of, label), checksum in data_files(run).items():
        groups.setdefault(of, []).append((of, label, checksum[:SHORT]))
    cells = [row for rows in groups.values() for row in rows[:_MOST]]
    caption = f"The first {SHORT} digits of the contents' checksum (xxh3, 128 bits)."
    if left := sum(len(rows[_MOST:]) for rows in groups.values()):
        caption += f" {left:,} more are in report.json."
    return Table("Files that were read", ("of", "file", "checksum"), tuple(cells), caption)

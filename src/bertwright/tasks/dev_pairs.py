"""MRPC in Microsoft's own file: GLUE took its dev set out of the training pairs, which that file still holds."""

from __future__ import annotations

from pathlib import Path

from bertwright.errors import DataError
from bertwright.tasks.task import Task

IDS = ("#1 ID", "#2 ID")
"""Columns that tell which two sentences a pair is of."""
_TEXT = "#1 String"
_WHOLE = "msr_paraphrase_train"
LIST = "dev_ids.tsv"
_MOST_BYTES = 1_000_000  # of a list of 408 pairs


def dev_pairs(train: Path) -> tuple[str, ...]:
    """Return the pairs that GLUE's list beside Microsoft's training file names, each as both ids; else none."""
    path = train.parent / LIST
    if not _is_whole(train) or not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig") if path.stat().st_size <= _MOST_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); it has to be GLUE's list of MRPC's dev pairs") from error
    pairs = [" ".join(line.split("\t")) for line in text.splitlines() if line.strip()]
    if not pairs or any(pair.count(" ") != 1 for pair in pairs):
        raise DataError(
            f"{path} is not GLUE's list of MRPC's dev pairs, which has two ids a line, parted by a tab; mend it, or "
            "move it elsewhere"
        )
    return tuple(sorted(pairs))


def not_told_apart(task: Task) -> str | None:
    """Return what is to be said of Microsoft's file where no list tells its dev pairs, else ``None``."""
    if task.without or not _is_whole(task.train) or _TEXT not in task.layout.columns.get("sentence1", ()):
        return None
    return (
        f"{task.train.name}: Microsoft's file holds the pairs of GLUE's dev set too; they are left out where GLUE's "
        f"{LIST} lies beside it"
    )


def _is_whole(train: Path) -> bool:
    return train.name.startswith(_WHOLE)

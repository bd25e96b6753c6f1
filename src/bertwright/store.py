"""The store: finished stages under their identities, sealed by one rename.

    STORE/store.json                      version of the format
    STORE/stages/<kind>-<identity>/       a sealed stage: its files and record.json with their checksums
    STORE/stages/<kind>-<identity>.partial/   a stage at work, or one that was killed; continued by the next run
    STORE/locks/<kind>-<identity>.lock    held while a stage works; .owner says by whom and since when
    STORE/runs/<recipe>/                  names that people know, pointing to stages
    STORE/steps.json                      what real steps took within the hour, for forecasts; of no other use

A folder without ``.partial`` is whole: it got its name after every byte of it was on the disk.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from bertwright import door, files
from bertwright.errors import LockHeld, StoreError

FORMAT = 1
RECORD = "record.json"
PARTIAL = ".partial"
POINTERS = "stages.json"
SCRATCH = "scratch"  # a folder inside a stage at work that is not part of what is sealed: checkpoints


def identity(kind: str, options: Mapping[str, Any], inputs: Mapping[str, str], contents: Mapping[str, str]) -> str:
    """Return the identity of a stage: 32 hexadecimal digits over all that may change its result.

    ``inputs`` maps a role to the identity of the stage that fills it, ``contents`` a label to a file's checksum.
    """
    parts = {"format": FORMAT, "kind": kind, "options": options, "inputs": inputs, "contents": contents}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


@dataclass(frozen=True)
class Sealed:
    """A finished stage: its folder and its record."""

    folder: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class Damage:
    """A fault that verification found in a sealed stage."""

    stage: str
    message: str


class Store:
    """A folder of stages. Opening it creates what is missing and refuses a newer format."""

    def __init__(self, root: Path) -> None:
        if sys.platform == "win32":
            raise StoreError(
                f"{root}: found Windows, which cannot bring a folder's rename to the disk, on which finished stages "
                "rest; expected Linux. Give the command in WSL, a virtual machine or a container."
            )
        self.root = root
        self.stages = root / "stages"
        self.locks = root / "locks"
        self.runs = root / "runs"
        for folder in (self.stages, self.locks, self.runs):
            files.make_folder(folder)
        self._check_format()

    def _check_format(self) -> None:
        marker = self.root / "store.json"
        if not marker.exists():
            files.write_json(marker, {"format": FORMAT})
            return
        try:
            found = files.read_json(marker)["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{marker}: not readable as a store's marker ({error}); name another folder with `store=FOLDER`"
            ) from error
        if found != FORMAT:
            newer = isinstance(found, int) and found > FORMAT
            raise StoreError(
                f"{self.root}: the store has format {found}, this bertwright reads format {FORMAT}. "
                f"{'Upgrade bertwright' if newer else 'Keep the old version for this store'}, "
                "or name another folder with `store=FOLDER`."
            )

    def folder(self, kind: str, identity_: str) -> Path:
        """Return where a stage lies once it is sealed."""
        return self.stages / f"{kind}-{identity_}"

    def partial_folder(self, kind: str, identity_: str) -> Path:
        """Return where a stage lies while it is at work."""
        return self.folder(kind, identity_ + PARTIAL)

    def sealed(self, kind: str, identity_: str) -> Sealed | None:
        """Return a finished stage, or ``None``; ``StoreError`` where a file of it is missing or cut off.

        Sizes are all that is looked at; ``verify`` compares the checksums.
        """
        folder = self.folder(kind, identity_)
        if not folder.is_dir():
            return None
        record = _record(folder)
        wrong = _cut_off(folder, record["files"])
        if wrong:
            record = _record(folder)  # `shed` writes the record first: what is gone may be gone rightly
            wrong = _cut_off(folder, record["files"])
        if wrong:
            raise StoreError(
                f"{folder}: {next(iter(wrong.values()))}, so the finished stage is damaged or was not copied whole. "
                "Copy it once more, or remove the folder, and the recipe's command does that stage again; "
                "`bertwright store verify` says what else is damaged."
            )
        return Sealed(folder, record)

    def partial(self, kind: str, identity_: str) -> bool:
        """Whether work on this stage was begun and not finished."""
        return self.partial_folder(kind, identity_).is_dir()

    @contextlib.contextmanager
    def lock(self, kind: str, identity_: str) -> Iterator[None]:
        """Hold a stage's lock; ``LockHeld`` names the owner where another process has it. A kill frees it."""
        path = self.locks / f"{kind}-{identity_}.lock"
        owner = path.with_suffix(".owner")
        with files.explained(path):
            try:
                lock = door.lock(path)
            except filelock.Timeout:
                raise LockHeld(
                    f"{kind}: another run works on this stage ({_owner(owner)}). "
                    "Wait for it to end, or end it, and give the same command again."
                ) from None
        try:
            files.write_json(owner, {"pid": os.getpid(), "user": _user(), "host": socket.gethostname(), "since": now()})
            yield
        finally:
            try:
                door.remove_file(owner)
            finally:
                lock.release()

    @contextlib.contextmanager
    def working(self, kind: str, identity_: str) -> Iterator[Path]:
        """Give the folder of a stage at work; what an earlier try left is still in it. The caller holds the lock.

        What a kill left half-written, or half-removed, goes: it has a temporary name and would be sealed with the rest.
        """
        folder = self.partial_folder(kind, identity_)
        with files.explained(folder):
            files.make_folder(folder / SCRATCH)
            for left in sorted(folder.rglob(f"*{files.TEMPORARY}"), reverse=True):
                files.remove(left)
        yield folder

    def seal(self, kind: str, identity_: str, record: Mapping[str, Any]) -> Sealed:
        """Write the record with every file's checksum, bring all to the disk and give the folder its final name."""
        folder, final = self.partial_folder(kind, identity_), self.folder(kind, identity_)
        with files.explained(final):
            files.remove(folder / SCRATCH)
            door.remove_file(folder / RECORD)
            contents = {
                str(path.relative_to(folder)): {"bytes": path.stat().st_size, "xxh3_128": files.checksum(path)}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            size = files.folder_size(folder)
            whole = {
                "format": FORMAT,
                "kind": kind,
                "identity": identity_,
                **record,
                "disk_bytes": size,
                "files": contents,
            }
            files.write_json(folder / RECORD, whole)
            files.sync_tree(folder)
            door.rename(folder, final)
            files.sync(self.stages)
        return Sealed(final, whole)

    def shed(self, kind: str, identity_: str, part: str) -> None:
        """Remove one folder of a sealed stage; its record says so, and holds no checksums of it any more.

        The record is written first: what a kill then leaves behind goes the next time.
        """
        with self.lock(kind, identity_):
            folder = self.folder(kind, identity_)
            record = _record(folder)
            kept = {name: entry for name, entry in record["files"].items() if not name.startswith(f"{part}/")}
            if len(kept) < len(record["files"]):
                size = sum(entry["bytes"] for entry in kept.values())
                files.write_json(folder / RECORD, {**record, "files": kept, "disk_bytes": size, "shed": [part]})
            if (folder / part).exists():
                files.remove(folder / part)
            files.clear(folder, part)

    def discard(self, kind: str, identity_: str) -> None:
        """Remove a sealed stage, where it is there, so that it can be done again."""
        with self.lock(kind, identity_):
            files.remove(self.folder(kind, identity_))

    def finished(self) -> list[Path]:
        """Return the folder of every finished stage, by name."""
        return sorted(path for path in self.stages.iterdir() if not path.name.endswith((PARTIAL, files.TEMPORARY)))

    def all_sealed(self) -> list[Sealed]:
        """Return every finished stage, oldest first."""
        found = [Sealed(folder, _record(folder)) for folder in self.finished()]
        return sorted(found, key=lambda sealed: (sealed.record["started"], sealed.folder.name))

    def verify(self) -> list[Damage]:
        """Compare every file of every sealed stage with its checksum; return what is wrong."""
        damage = []
        for folder in self.finished():
            try:
                record = _record(folder)
            except StoreError as error:
                damage.append(Damage(folder.name, str(error)))
                continue
            messages = _compare(folder, record["files"], record.get("shed", ()))
            damage += [Damage(folder.name, message) for message in messages]
        return damage

    def collect_garbage(self, *, dry_run: bool = False) -> tuple[list[str], int]:
        """Remove stages that no run points to, begun or finished; return their names and bytes freed.

        A stage whose lock is held is left alone. What is half-written in the folders of runs goes too, and is not told.
        """
        needed = {path.name for path in self._needed()}
        removed, freed = [], 0
        for folder in sorted(self.stages.iterdir()):
            if folder.name.removesuffix(PARTIAL) in needed:  # checkpoints of a run that is to go on are needed
                continue
            kind, _, identity_ = folder.name.removesuffix(PARTIAL).rpartition("-")
            with contextlib.suppress(LockHeld), self.lock(kind, identity_):
                freed += files.folder_size(folder)
                removed.append(folder.name)
                if not dry_run:
                    files.remove(folder)
        for folder in () if dry_run else (self.root, self.locks, *_folders(self.runs)):
            files.clear(folder)
        return removed, freed

    def _needed(self) -> Iterator[Path]:
        for plan in self.runs.glob(f"*/{POINTERS}"):
            for entry in pointers(plan.parent).values():
                yield self.folder(entry["kind"], entry["identity"])


def pointers(run: Path) -> dict[str, Any]:
    """Return what a run's folder points to: kind, identity and parts by stage name; ``StoreError`` where damaged."""
    path, content = run / POINTERS, dict[str, Any]()
    try:
        if path.exists():
            content = files.read_json(path)
        _ = [(entry["kind"], entry["identity"]) for entry in content.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path}: what a run points to cannot be read ({error}). Remove it: the recipe's command writes it again "
            "and takes what is finished as it is."
        ) from error
    return content


# What a record says of every stage, and of what kind it is.
_KINDS: dict[str, Any] = {
    **{"kind": str, "identity": str, "name": str, "started": str, "seconds": int | float, "peak_memory_bytes": int},
    **{"parts": dict, "machine": dict, "device": dict, "versions": dict, "results": dict},
}


def _record(folder: Path) -> dict[str, Any]:
    """Return a finished stage's record; ``StoreError`` where it is damaged."""
    try:
        record: dict[str, Any] = files.read_json(folder / RECORD)
        _ = [(one["bytes"], one["xxh3_128"]) for one in record["files"].values()]
        _ = record["started"]
        if odd := [key for key, kind in _KINDS.items() if key in record and not isinstance(record[key], kind)]:
            raise ValueError(f"found {record[odd[0]]!r} for `{odd[0]}`")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{folder / RECORD}: the record of a finished stage cannot be read ({error}). Remove {folder}, and the "
            "recipe's command does that stage again; `bertwright store verify` says what else is damaged."
        ) from error
    return record


def _folders(folder: Path) -> Iterator[Path]:
    """Give a folder and those in it, behind no link."""
    yield folder
    for inside in folder.iterdir():
        if inside.is_dir() and not inside.is_symlink() and not inside.name.endswith(files.TEMPORARY):
            yield from _folders(inside)


def _cut_off(folder: Path, contents: Mapping[str, Any]) -> dict[str, str]:
    """Return which files of a stage are missing or have another size, and how each is told."""
    wrong = {}
    for name, entry in contents.items():
        path = folder / name
        if not path.is_file():
            wrong[name] = f"{name} is missing"
        elif (size := path.stat().st_size) != entry["bytes"]:
            wrong[name] = f"{name} has {size} bytes, its record says {entry['bytes']}"
    return wrong


def _compare(folder: Path, contents: Mapping[str, Any], shed: Sequence[str]) -> Iterator[str]:
    """Give what is wrong with a stage's files; what is shed or half-written may still be there."""
    cut_off = _cut_off(folder, contents)
    yield from cut_off.values()
    for name, entry in contents.items():
        if name not in cut_off and files.checksum(folder / name) != entry["xxh3_128"]:
            yield f"{name} has changed since it was sealed"
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        first = path.relative_to(folder).parts[0]
        going = first in shed or first.endswith(files.TEMPORARY)
        if path.is_file() and name != RECORD and name not in contents and not going:
            yield f"{name} is not in its record"


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _owner(path: Path) -> str:
    # The owner writes its note just after it took the lock: give it a moment.
    for _ in range(10):
        with contextlib.suppress(OSError, ValueError, KeyError):
            note = files.read_json(path)
            return f"process {note['pid']} of {note['user']} on {note['host']}, since {note['since']}"
        time.sleep(0.05)
    return "its owner left no note"

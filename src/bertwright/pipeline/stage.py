"""A stage of a plan: what it depends on, where it stands, and why it would run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.errors import DataError
from bertwright.stages.kinds import KINDS
from bertwright.store import POINTERS, Store, identity


@dataclass(frozen=True)
class Input:
    """What fills a role of a stage: another stage by name, or a folder of the user."""

    identity: str
    stage: str | None = None
    folder: Path | None = None
    inside: str = ""
    """A folder inside the stage or folder, where only that part is meant."""


@dataclass(frozen=True)
class Stage:
    """One step of work with an identity."""

    name: str
    kind: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    inputs: Mapping[str, Input]
    paths: Mapping[str, Path]
    contents: Mapping[str, str]
    identity: str

    @property
    def parts(self) -> dict[str, Any]:
        """What the identity was made of, for a later comparison."""
        inputs = {role: {"identity": entry.identity, "stage": entry.stage} for role, entry in self.inputs.items()}
        return {"options": dict(self.options), "inputs": inputs, "contents": dict(self.contents)}


@dataclass(frozen=True)
class Due:
    """Where a stage stands: ``done``, ``partial`` or ``due``, and why."""

    state: str
    why: str


UNTRAINED = "untrained"
"""The variant whose encoder was drawn and not trained."""


@dataclass(frozen=True)
class Variant:
    """An encoder to fine-tune, and its tokenizer."""

    name: str
    encoder: Input
    tokenizer: Input


class Stages:
    """Collects stages in the order of their making, which is an order they can run in."""

    def __init__(self) -> None:
        self.planned: dict[str, Stage] = {}

    def add(
        self,
        name: str,
        kind: str,
        options: Mapping[str, Any],
        *,
        settings: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Input] | None = None,
        paths: Mapping[str, Path] | None = None,
        inside: str = "",
    ) -> Input:
        """Add a stage; return what others take from it."""
        inputs, paths = inputs or {}, paths or {}
        contents = {label: checksum(path) for label, path in paths.items()}
        own = identity(kind, options, {role: entry.identity for role, entry in inputs.items()}, contents)
        self.planned[name] = Stage(name, kind, options, settings or {}, inputs, paths, contents, own)
        return Input(own, stage=name, inside=inside)


def checksum(path: Path) -> str:
    """Return the checksum of a file of the user's; ``DataError`` where it cannot be read."""
    try:
        return files.checksum(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); give this user the right to read it"
        ) from error


def given_folder(folder: Path, names: tuple[str, ...], key: str, pattern: str | None = None) -> Input:
    """Return a folder of the user as an input; its identity is the content of the named files."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) if folder.is_dir() else "not a folder"
        raise DataError(
            f"{key}: {folder} lacks {', '.join(missing)} (found: {there or 'nothing'}); name the folder that holds them"
        )
    found = [folder / name for name in names] + sorted(folder.glob(pattern) if pattern else [])
    return Input(
        identity("given", {}, {}, {str(path.relative_to(folder)): checksum(path) for path in found}), folder=folder
    )


def where(stage: Stage, store: Store, before: Mapping[str, Any]) -> Due:
    """Say whether a stage is done and, if not, why; ``before`` is what the run's folder points to."""
    if store.sealed(stage.kind, stage.identity):
        return Due("done", "sealed")
    entry = before.get(stage.name)
    if store.partial(stage.kind, stage.identity):
        failed = failures([stage], before).get(stage.name)
        again = f"failed ({failed.splitlines()[0]}); is tried again" if failed else None
        return Due("partial", again or "was interrupted; continues from what is there")
    if entry is None:
        return Due("due", "has not run yet")
    return Due("due", difference(entry["parts"], stage.parts) or "has not run yet, or was removed from the store")


def point(
    folder: Path, kept: Mapping[str, Any], stages: Sequence[Stage], failed: Mapping[str, str] | None = None
) -> None:
    """Let a run's folder point to stages, beside those that it has ``kept``: garbage collection takes none of them.

    What ``failed`` ones said stands there too, by name.
    """
    entries = {stage.name: {"kind": stage.kind, "identity": stage.identity, "parts": stage.parts} for stage in stages}
    said = {name: {**entries[name], "failed": words} for name, words in (failed or {}).items()}
    files.write_json(folder / POINTERS, {**kept, **entries, **said})


def up_to(stages: Sequence[Stage], kind: str) -> list[Stage]:
    """Return the stages of a plan as far as a kind."""
    kinds = list(KINDS)
    return [stage for stage in stages if kinds.index(stage.kind) <= kinds.index(kind)]


def failures(stages: Sequence[Stage], before: Mapping[str, Any]) -> dict[str, str]:
    """Return what stages said that failed at the last try, by name; ``before`` is what the run's folder points to."""
    found = {stage.name: before[stage.name] for stage in stages if stage.name in before}
    return {
        stage.name: found[stage.name]["failed"]
        for stage in stages
        if "failed" in found.get(stage.name, {}) and found[stage.name]["identity"] == stage.identity
    }


def standings(
    stages: Sequence[Stage], store: Store, before: Mapping[str, Any], *, whole: bool = False
) -> dict[str, Due]:
    """Return where each stage of a plan stands.

    One whose weights were not kept is due again where they are needed, or where all are to be ``whole``.
    """
    found = {stage.name: where(stage, store, before) for stage in stages}
    for stage in stages if whole else ():
        if found[stage.name].state == "done" and not _whole(stage, store):
            found[stage.name] = Due("due", "its weights were not kept, and now they are to be")
    by_name = {stage.name: stage for stage in stages}
    for stage in reversed(stages):
        for entry in stage.inputs.values() if found[stage.name].state != "done" else ():
            provider = by_name.get(entry.stage or "")
            if provider is not None and found[provider.name].state == "done" and not _whole(provider, store):
                found[provider.name] = Due("due", f"its weights were not kept, and {stage.name} needs them")
    return found


def _whole(stage: Stage, store: Store) -> bool:
    sealed = store.sealed(stage.kind, stage.identity)
    return sealed is not None and "shed" not in sealed.record


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Name the first thing in which two stages of one name differ: an option, an input or a file."""
    options = _flat(old["options"]), _flat(new["options"])
    for key in sorted({*options[0], *options[1]}):
        was, now = options[0].get(key), options[1].get(key)
        if was != now:
            return f"{key} was {_short(was)}, is {_short(now)}"
    for role in sorted(set(old["inputs"]) | set(new["inputs"])):
        was, now = old["inputs"].get(role), new["inputs"].get(role)
        if (was or {}).get("identity") != (now or {}).get("identity"):
            if was and now:
                return (
                    f"its {role} changed ({now['stage']} runs again)"
                    if now["stage"]
                    else f"the folder given as {role} changed"
                )
            return f"its {role} was {'added' if now else 'removed'}"
    for label in sorted(set(old["contents"]) | set(new["contents"])):
        was, now = old["contents"].get(label), new["contents"].get(label)
        if was != now:
            return f"the content of {label} changed" if was and now else f"{label} was {'added' if now else 'removed'}"
    return None


def _flat(options: Mapping[str, Any], stem: str = "") -> dict[str, Any]:
    """Return nested options under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flat(value, f"{stem}{key}.") if isinstance(value, Mapping) else {f"{stem}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = "off" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""The commands that look after a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bertwright.cli.console import Commands, show
from bertwright.errors import InputError

store_app = Commands(help="Look after the store of finished stages.", no_args_is_help=True, rich_markup_mode=None)
StorePath = Annotated[Path, typer.Option("--store", metavar="FOLDER", help="The store's folder.")]


@store_app.command("list")
def store_list(store: StorePath = Path("bertwright-store")) -> None:
    """List the finished stages."""
    from bertwright.reports.words import bytes_text, seconds_text

    records = [sealed.record for sealed in _open(store).all_sealed()]
    lines = [
        f"{r['kind']}-{r['identity'][:12]}  {r['started']}  {seconds_text(r['seconds']):>8}"
        f"  {bytes_text(r['disk_bytes']):>9}  {r['name']}"
        for r in records
    ]
    keys = ("kind", "identity", "name", "started", "seconds", "disk_bytes")
    show(lines or ["the store holds no finished stage"], {"stages": [{k: r[k] for k in keys} for r in records]})


@store_app.command("verify")
def store_verify(store: StorePath = Path("bertwright-store")) -> None:
    """Compare every file of every finished stage with its checksum."""
    opened = _open(store)
    damage = opened.verify()
    lines = [f"{one.stage}: {one.message}" for one in damage]
    count = len(opened.finished())
    lines.append(f"{len(damage)} faults found" if damage else f"{count} stages are whole")
    show(lines, {"stages": count, "damage": [{"stage": d.stage, "message": d.message} for d in damage]})
    if damage:
        raise typer.Exit(1)


@store_app.command("gc")
def store_gc(
    store: StorePath = Path("bertwright-store"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove stages that no run points to. What killed runs left behind goes as well."""
    from bertwright.reports.words import bytes_text

    removed, freed = _open(store).collect_garbage(dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {name}" for name in removed] + [f"{verb} {len(removed)} stages, {bytes_text(freed)}"]
    show(lines, {"removed": removed, "bytes": freed, "dry_run": dry_run})


def _open(path: Path) -> Any:
    from bertwright.store import Store

    if not (path / "store.json").is_file():
        raise InputError(f"{path} is not a store (no store.json in it); name the folder with --store")
    return Store(path)

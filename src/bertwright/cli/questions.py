"""What ``bertwright init`` asks where a person is there to answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from bertwright.cli.console import output
from bertwright.units import parse_amount


@dataclass(frozen=True)
class Answers:
    """The files that a first recipe is written for, and how long it may pretrain."""

    text: list[Path]
    tasks: list[Path]
    encoder: Path | None
    budget: str


def someone_answers() -> bool:
    """Return whether questions would reach a person: both ends are terminals, and nobody asked for quiet or JSON."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not (output.quiet or output.json)


def ask(budget: str) -> Answers:
    """Ask what to write a recipe for, on stderr; an empty answer leaves the choice out.

    ``budget`` is the answer to how long to pretrain where Enter alone is pressed.
    """
    typer.echo("Enter alone leaves a choice out; with no file named the recipe has places to fill in.", err=True)
    text = _paths("Text to pretrain on (a file or folder)")
    tasks = _paths("Labelled rows to train on (csv, tsv, jsonl or parquet)")
    encoders = _paths("A model folder to start from", several=False)
    if text:
        budget = _budget(budget)
    return Answers(text, tasks, encoders[0] if encoders else None, budget)


def _paths(question: str, *, several: bool = True) -> list[Path]:
    found: list[Path] = []
    while several or not found:
        answer = typer.prompt("  another" if found else question, default="", show_default=False, err=True).strip()
        if not answer:
            break
        path = Path(answer).expanduser()
        if path.exists():
            found.append(path)
        else:
            typer.echo(f"  {answer} is not there; name a file or folder that is, or press Enter", err=True)
    return found


def _budget(default: str) -> str:
    while True:
        answer = str(typer.prompt("How long to pretrain", default=default, err=True)).strip()
        try:
            parse_amount(answer)
        except ValueError as error:
            typer.echo(f"  {error}", err=True)
        else:
            return answer

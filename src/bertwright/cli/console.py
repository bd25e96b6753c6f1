"""What commands have in common: options, what they print, and how a failure is told.

Results go to stdout, progress and errors to stderr; with ``--json`` stdout has one JSON object last.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bertwright.errors import Interrupted

STOPPED = "stopped. What was finished is kept; the same command continues."

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[a.b=c ...]", help="Changes to the recipe, such as pretrain.budget=5min.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last, on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show also what was skipped, and tracebacks.")]


@dataclass
class Output:
    """What the options that stand before a command ask for."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False


output = Output()


def ask(as_json: bool, quiet: bool = False, verbose: bool = False) -> None:
    """Note a command's options."""
    output.json, output.quiet, output.verbose = as_json, quiet, verbose


def show(lines: Sequence[str], result: dict[str, Any]) -> None:
    """Print a result in lines and, where asked for, as JSON."""
    for line in lines:
        print(line, file=sys.stderr if output.json else sys.stdout)
    if output.json:
        print(json.dumps({"ok": True, **result}, ensure_ascii=False, default=str))


def stop_when_asked() -> None:
    """Have SIGTERM and Ctrl-C end a command in order, with its live lines put away."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)


def _stop(_signal: int, _frame: object) -> None:
    raise Interrupted(STOPPED)


def fail(message: str, code: int, kind: str) -> int:
    """Tell an error and return its exit code."""
    if output.verbose:
        traceback.print_exc()
    print(f"error: {message}" if "\n" not in message else f"error:\n{message}", file=sys.stderr)
    if output.json:
        print(json.dumps({"ok": False, "error": {"kind": kind, "message": message}, "exit_code": code}))
    return code

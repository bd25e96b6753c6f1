"""What commands have in common: options, what they print, and how a failure is told.

Results go to stdout, progress and errors to stderr; with ``--json`` stdout has one JSON object last.
"""

from __future__ import annotations

import inspect
import json
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from unicodedata import category

import typer

from bertwright.errors import InputError
from bertwright.units import parse_share

# Kinds of letters in Unicode: controls, marks of direction, halves and strangers' own, ends of lines and paragraphs.
_STEERING = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

# Ctrl-C, the system's wish, and the alarm by which a dropped stop is asked again.
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)

STOPPED = "stopped. What was finished is kept; the same command continues."

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="a.b=c", help="Changes to the recipe, such as pretrain.budget=5min.")
]


@dataclass
class Output:
    """What the options that every command has ask for, and whether it was asked to stop."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    stopped: bool = False
    """Whether the command was asked to stop: what fails behind that failed for it, whatever a library makes of it."""


output = Output()
_OF_ALL: dict[str, Any] = {
    "json": Annotated[bool, typer.Option("--json", help="Print one JSON object last, on stdout.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Show also what was skipped, and tracebacks.")],
}


class Commands(typer.Typer):
    """Commands that each have ``--json``, ``--quiet`` and ``--verbose`` behind their own options; see ``output``."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # type: ignore[override]
        """Return what makes a command of a function."""
        register = super().command(*args, **kwargs)
        return lambda function: register(_with_options(function))


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the options of all behind its own, as typer reads them; it notes them in ``output``."""

    def command(**given: Any) -> Any:
        for name in _OF_ALL:
            setattr(output, name, given.pop(name))
        return function(**given)

    own = inspect.signature(function, eval_str=True).parameters.values()
    also = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in _OF_ALL.items()
    ]
    signature = inspect.Signature([*own, *also])
    command.__doc__, command.__signature__ = function.__doc__, signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    return command


def share(option: str, text: str) -> float:
    """Return the share that an option was given; ``InputError`` where it is none."""
    try:
        return parse_share(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from error


def unsteered(text: str) -> str:
    """Return a text with what would steer a terminal as codes: the names and values in it may be a stranger's."""
    return "".join(
        letter if letter in "\n\t" or category(letter) not in _STEERING else letter.encode("unicode_escape").decode()
        for letter in text
    )


def tell(said: str) -> None:
    """Show what a command is at, unless it is to be quiet."""
    if not output.quiet:
        print(unsteered(said), file=sys.stderr)


def told_every(seconds: float = 5.0) -> Callable[[str], None]:
    """Return what shows what a command is at, at most once in so many seconds; the first is shown at once."""
    last = float("-inf")

    def once(said: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            tell(said)

    return once


def show(lines: Sequence[str], result: dict[str, Any]) -> None:
    """Print a result in lines and, where asked for, as JSON."""
    for line in lines:
        print(unsteered(line), file=sys.stderr if output.json else sys.stdout)
    if output.json:
        print(json.dumps({"ok": True, **result}, ensure_ascii=False, default=str))


def stop_when_asked() -> None:
    """Have SIGTERM and Ctrl-C end a command in order, with its live lines put away.

    Training and servers take the signals over while they run. A command in a thread leaves them to whoever started it.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _STOPS:
            signal.signal(number, _stop)
        if not isinstance(sys.unraisablehook, _StopsAgain):
            sys.unraisablehook = _StopsAgain(sys.unraisablehook)


def while_winding_down() -> None:
    """Let signals end the process without a word: all has been said."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_DFL)


def _stop(_signal: int, _frame: object) -> None:
    output.stopped = True
    # No ``Exception``: a call into a library, whose errors have no common base, would take it for one of them.
    raise KeyboardInterrupt


@dataclass(frozen=True)
class _StopsAgain:
    """Asks once more where a stop was dropped, having met a callback of the interpreter such as a weak reference's."""

    otherwise: Callable[[Any], Any]

    def __call__(self, dropped: Any) -> None:
        if dropped.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            self.otherwise(dropped)


def fail(message: str, code: int, kind: str) -> int:
    """Tell an error and return its exit code; of a command that was asked to stop, that it did."""
    if output.stopped:
        message, code, kind = STOPPED, 1, "Interrupted"
    if output.verbose:
        traceback.print_exc()
    said = unsteered(message)
    print(f"error: {said}" if "\n" not in said else f"error:\n{said}", file=sys.stderr)
    if output.json:
        print(json.dumps({"ok": False, "error": {"kind": kind, "message": message}, "exit_code": code}))
    return code

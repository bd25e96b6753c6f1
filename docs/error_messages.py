"""Every error that bertwright raises on purpose, as it stands in the code: kind, message, place. For docs/errors.md."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bertwright import errors

SOURCE = Path(__file__).parents[1] / "src" / "bertwright"
KINDS: dict[str, type[errors.BertwrightError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, errors.BertwrightError)
}
ANYTHING = "…"


@dataclass(frozen=True)
class Told:
    """A message with ``…`` for what is filled in, its kind (``Problem``: of a recipe), and the file that raises it."""

    kind: str
    message: str
    file: str
    line: int


def collected() -> list[Told]:
    """Return all messages, by file and line."""
    return [told for path in sorted(SOURCE.rglob("*.py")) for told in _in(path)]


def _in(path: Path) -> Iterator[Told]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = _constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
            continue
        name = node.func.id
        if name == "Problem" and len(node.args) == 3:
            message = _text(node.args[2], known)
        elif name in KINDS and name != "RecipeError":
            message = _text(node.args[0], known)
        else:
            continue
        message = " ".join(message.split())
        if message.strip(f"{ANYTHING} .:") and "_" not in message[:1]:
            yield Told(name, message, str(path.relative_to(SOURCE)), node.lineno)


def _constants(tree: ast.Module) -> dict[str, str]:
    """Return the texts that have a name in a file."""
    return {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _text(node: ast.expr, known: dict[str, str]) -> str:
    """Return a message with ``…`` in place of what the code fills in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, known) if isinstance(node.value, ast.Constant | ast.Name) else ANYTHING
    if isinstance(node, ast.Name):
        return known.get(node.id, ANYTHING)
    if isinstance(node, ast.BinOp):
        return _text(node.left, known) + _text(node.right, known)
    return ANYTHING


TITLES = {
    "Problem": "Faults of a recipe (exit 2)",
    "InputError": "What was given has to change (exit 2)",
    "DataError": "A file, a row or a column (exit 2)",
    "StoreError": "The store, or another place to write (exit 2)",
    "LockHeld": "Another run at work (exit 2)",
    "RunError": "The work failed (exit 1)",
    "RunsFailed": "Some stages failed, and the others are done (exit 1)",
    "Diverged": "Numbers that are none (exit 1)",
    "Interrupted": "Stopped as asked (exit 1)",
    "ProofFailed": "A saved model does not answer as it did (exit 1)",
}


def page() -> str:
    """Return docs/errors.md."""
    found = collected()
    parts = [
        "# Errors\n\nWritten from the code by `make docs`. Every message says what was found, what was expected and "
        f"what to do next; `{ANYTHING}` stands for what is filled in. Exit code 2: the input has to change; 1: the "
        "work failed, and what was finished is kept. With `--json` the kind is `error.kind`. Faults of a recipe are "
        "told all at once, each with its line; pydantic's own (a wrong type, an unknown key) come in the same form and "
        "are not listed here.\n"
    ]
    for kind, title in TITLES.items():
        own = sorted({(told.file, told.message) for told in found if told.kind == kind})
        if not own:
            continue
        about = "" if kind == "Problem" else f"\n\n`{kind}`: {inspect.getdoc(KINDS[kind])}"
        parts.append(f"## {title}{about}\n")
        room = None
        for file, message in own:
            if (here := file.partition("/")[0].removesuffix(".py")) != room:
                room = here
                parts.append(f"\n{room}\n")
            parts.append(f"- {_escaped(message)}")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _escaped(message: str) -> str:
    return message.replace("|", "\\|").replace("<", "&lt;").replace("](", "] (")

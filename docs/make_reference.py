"""Write docs/commands.md from the live help, docs/recipe.md from the recipe's sentences, docs/errors.md from the code.

`python docs/make_reference.py` writes them; with `--check` it only says whether they are up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer.main
from error_messages import page as errors
from pydantic_core import PydanticUndefined

from bertwright.cli.main import app
from bertwright.exits.policies import RULES
from bertwright.recipe.debias import Expert, Loss
from bertwright.recipe.debias_published import PUBLISHED
from bertwright.recipe.exits import Exits
from bertwright.recipe.exits_settings import SETTINGS
from bertwright.recipe.fields import Section
from bertwright.recipe.methods import Grid, Method
from bertwright.recipe.sections import Encoder, Finetune, Pretrain, Recipe, System
from bertwright.recipe.task import LabelledSet, Task
from bertwright.recipe.text import Prepare, Source, Tokenizer
from bertwright.tasks.metrics import METRICS
from bertwright.tasks.protocols import PROTOCOLS

HERE = Path(__file__).parent
SECTIONS: list[tuple[str, type[Section]]] = [
    ("", Recipe),
    ("system", System),
    ("prepare", Prepare),
    ("prepare.sources", Source),
    ("tokenizer", Tokenizer),
    ("encoder", Encoder),
    ("pretrain", Pretrain),
    ("finetune", Finetune),
    ("finetune.trainable", Method),
    ("finetune.trainable.loss", Loss),
    ("finetune.experts", Expert),
    ("finetune.exits", Exits),
    ("finetune.grid", Grid),
    ("tasks", Task),
    ("tasks.sets", LabelledSet),
]


def commands() -> str:
    """Return the page of commands."""
    parts = ["# Commands\n\nWritten from the live help by `make docs`.\n"]

    def walk(name: str, command: Any) -> None:
        if getattr(command, "commands", None):
            for child, inner in command.commands.items():
                walk(f"{name} {child}", inner)
        else:
            context = command.make_context(name, [], resilient_parsing=True, terminal_width=80)
            parts.append(f"## {name}\n\n```\n{command.get_help(context).strip()}\n```\n")

    walk("bertwright", typer.main.get_command(app))
    return "\n".join(parts)


def recipe() -> str:
    """Return the page of every choice in a recipe."""
    parts = [
        "# The recipe\n\nWritten from the recipe's own sentences by `make docs`. A section that is left out, or set to "
        "`off`, is off. Relative paths resolve against the recipe's folder. `section.key=value` on the command line "
        "changes a recipe.\n"
    ]
    for name, section in SECTIONS:
        title = f"`{name}`" if name else "At the top"
        rows = []
        for key, field in section.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if default is PydanticUndefined:
                shown = "must be given"
            elif isinstance(default, Section):
                shown = "see below"
            elif isinstance(default, tuple) and default and isinstance(default[0], Method):
                shown = f"`{default[0].label}`"
            elif default is None or default == () or default == {}:
                shown = "off"
            else:
                shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
            rows.append((f"`{key}`", shown, _line(field.description)))
        parts.append(f"## {title}\n\n{_line(section.__doc__)}\n\n" + _table(("key", "default", "what it is"), rows))
    return "\n".join([*parts, names()])


def names() -> str:
    """Return what a recipe's names of metrics, policies and published settings stand for, and where they are from."""
    trained = {
        name: ", ".join(f"{key} {value}" for key, value in one.training.items()) for name, one in PUBLISHED.items()
    }
    tables = {
        "`tasks.metrics`": _table(
            ("name", "kinds of tasks", "what it is"),
            [(f"`{name}`", ", ".join(one.kinds), one.sentence) for name, one in METRICS.items()],
        ),
        "`finetune.protocol`": _table(
            ("name", "where it is from"), [(f"`{name}`", one.source) for name, one in PROTOCOLS.items()]
        ),
        "`finetune.trainable.loss.name`, as published": _table(
            ("name", "where it is from", "its expert", "its training"),
            [(f"`{name}`", one.source, one.expert, trained[name]) for name, one in PUBLISHED.items()],
        ),
        "`finetune.exits.settings`": _table(
            ("name", "where it is from"), [(f"`{name}`", one.source) for name, one in SETTINGS.items()]
        ),
        "Policies of exits": _table(
            ("such as", "what it does"), [(f"`{one.example}`", one.sentence) for one in RULES.values()]
        ),
    }
    return "\n".join(["## Names\n", *(f"### {title}\n\n{table}" for title, table in tables.items())])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def main(check: bool) -> int:
    """Write the pages, or compare them; return the exit code."""
    stale = []
    for name, page in (("commands.md", commands()), ("recipe.md", recipe()), ("errors.md", errors())):
        path = HERE / name
        if check:
            stale += [name] if not path.exists() or path.read_text(encoding="utf-8") != page else []
        else:
            path.write_text(page, encoding="utf-8")
    for name in stale:
        print(f"docs/{name} is not what the program says; `make docs` writes it anew")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))

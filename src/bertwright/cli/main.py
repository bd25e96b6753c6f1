"""The command line: parse, call, print.

Results go to stdout, progress and errors to stderr. Exit code 0: fine; 1: the work failed; 2: the input has to change.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bertwright import __version__
from bertwright.cli.console import (
    STOPPED,
    Commands,
    Overrides,
    RecipePath,
    fail,
    output,
    show,
    stop_when_asked,
    tell,
    told_every,
    while_winding_down,
)
from bertwright.cli.demo import demo_command
from bertwright.cli.exits import exits_app
from bertwright.cli.export import export_command
from bertwright.cli.init import init_command, schema_command
from bertwright.cli.memory import canaries_command, memorise_command
from bertwright.cli.pack import pack_app
from bertwright.cli.plan import plan_command, status_command
from bertwright.cli.predict import predict_command
from bertwright.cli.report import report_command
from bertwright.cli.running import carry_out
from bertwright.cli.serve import serve_command
from bertwright.cli.store import store_app
from bertwright.cli.submit import submit_command
from bertwright.errors import BertwrightError, InputError
from bertwright.out_of_memory import SAID, is_out_of_memory
from bertwright.processes import launched

app = Commands(
    name="bertwright",
    help="Train, adapt and serve your own BERT-like text encoders on private text and modest hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Smoke = Annotated[
    bool, typer.Option("--smoke", help="Take the same way at toy size; made-up text stands in for what is not there.")
]


AsPublished = Annotated[
    bool,
    typer.Option("--as-published", help="Choose exit thresholds by score alone, at three drops, and time every row."),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    code = call(arguments)
    while_winding_down()
    if launched():
        # What is to be kept is written. gloo's threads sometimes abort an interpreter that winds itself down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


# What the extra `train` brings; text, plans and reports need none of it.
_OF_TRAINING = ("torch", "transformers", "accelerate")

# What the extra `export` brings beside it.
_OF_EXPORT = ("onnx", "onnxruntime")

# What typer makes of a KeyboardInterrupt.
_CTRL_C = 130


def call(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    output.json = output.quiet = output.verbose = output.stopped = False
    try:
        stop_when_asked()
        result = app(arguments, standalone_mode=False, prog_name="bertwright")
        if result == _CTRL_C:
            return fail(STOPPED, 1, "Interrupted")
        return result if isinstance(result, int) else 0
    except typer.Exit as leave:
        return int(leave.exit_code)
    except BertwrightError as error:
        return fail(str(error), error.exit_code, type(error).__name__)
    except (KeyboardInterrupt, typer.Abort):
        return fail(STOPPED, 1, "Interrupted")
    except OSError as error:
        return fail(_system(error), 2, "InputError")
    except Exception as error:
        # Click raises its own exceptions for a wrong command line, before a command could note its options.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            if type(error).__name__ == "NoArgsIsHelpError":  # a group alone: its message is its help
                print(error.format_message(), file=sys.stderr)
                return int(error.exit_code)
            output.json = "--json" in (sys.argv[1:] if arguments is None else arguments)
            return fail(_misused(error), int(error.exit_code), "UsageError")
        if isinstance(error, ModuleNotFoundError) and error.name in (*_OF_TRAINING, *_OF_EXPORT):
            extra = "train" if error.name in _OF_TRAINING else "export"
            wanted = f'pip install "bertwright[{extra}]"'
            return fail(f"this needs {error.name}, which is not installed here; `{wanted}` brings it", 2, "InputError")
        if is_out_of_memory(error):
            return fail(SAID, 2, "InputError")
        if not output.stopped:
            traceback.print_exc()
        return fail(
            f"bertwright met a fault of its own ({type(error).__name__}: {error}). What was finished is kept.",
            1,
            "Fault",
        )


def _misused(error: Any) -> str:
    """Say what was wrong with a command line, and where its options are told."""
    command = getattr(getattr(error, "ctx", None), "command_path", None) or "bertwright"
    option = getattr(error, "option_name", None)
    takes = [one.name for one in getattr(getattr(getattr(error, "ctx", None), "command", None), "params", [])]
    if option is not None and "overrides" in takes:
        return (
            f"No such option: {option}. Choices of the recipe are given without dashes, with their section's name, "
            f"such as `pretrain.budget=5min`; `{command} --help` tells the others"
        )
    return f"{error.format_message().rstrip('.')}; `{command} --help` tells its arguments and options"


def _system(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    why = error.strerror or str(error)
    return f"{place}the system refused ({why}). What was finished is kept; mend it and give the same command again."


def run_command(
    recipe: RecipePath,
    overrides: Overrides = None,
    smoke: Smoke = False,
    published: AsPublished = False,
) -> None:
    """Do all that a recipe asks for: text, encoder, tasks, report. What is finished is skipped."""
    carry_out(recipe, overrides, "evaluate", toy=smoke, published=published)


def _verb(until: str, text: str) -> Callable[..., None]:
    def command(
        recipe: RecipePath,
        overrides: Overrides = None,
    ) -> None:
        carry_out(recipe, overrides, until)

    command.__doc__ = text
    return command


def prepare_command(
    recipe: RecipePath,
    overrides: Overrides = None,
    inspect: Annotated[int, typer.Option("--inspect", min=0, help="Print so many rows as the model sees them.")] = 0,
    sizes: Annotated[
        str,
        typer.Option("--sizes", metavar="LIST", help="Only compare tokenizers of such sizes, such as 4000,8000,16000."),
    ] = "",
) -> None:
    """Turn the recipe's text into a tokenizer and rows of tokens."""
    if sizes:
        _compare_sizes(recipe, overrides, sizes)
    else:
        carry_out(recipe, overrides, "prepare", inspect)


def _compare_sizes(path: Path, overrides: list[str] | None, sizes: str) -> None:
    from bertwright.pipeline.sizes import compare_sizes
    from bertwright.recipe.reading import load_recipe

    if not all(size.strip().isdecimal() for size in sizes.split(",")):
        raise InputError(f"--sizes: found {sizes!r}; write whole numbers with commas between, such as 4000,8000,16000")
    rows = compare_sizes(load_recipe(path, overrides or ()), [int(size) for size in sizes.split(",")])
    lines = [f"{'pieces':>8}  {'tokens a word':>13}  {'unknown words':>13}  {'embeddings':>10}  {'parameters':>12}"]
    for row in rows:
        figures = f"{row.tokens_per_word:13.3f}  {row.unknown:13.4%}  {row.embeddings:10.1%}  {row.parameters:12,}"
        lines.append(f"{row.vocabulary:8,}  {row.why or figures}")
    show(lines, {"sizes": [row.as_dict() for row in rows]})


def check_command(
    recipe: RecipePath,
    overrides: Overrides = None,
    shortcuts: Annotated[
        bool, typer.Option("--shortcuts", help="Only say which features of the tasks' rows give labels away alone.")
    ] = False,
) -> None:
    """Check recipe and data, and forecast hours, memory and disk. One real step of each shape is taken."""
    from bertwright.pipeline.check import check, check_shortcuts

    if shortcuts:
        given = check_shortcuts(recipe, overrides or ())
        show(given.lines(), given.as_dict())
        return
    tell("check: reads the data, then takes a real step of each shape, which may take minutes where there are many")
    show_share = told_every()
    found = check(
        recipe, overrides or (), lambda share: show_share(f"real steps are measured: {share:.0%} of the stages")
    )
    show(found.lines(), found.as_dict())


def tasks_command(
    guess: Annotated[
        Path | None, typer.Option("--guess", metavar="FILE", help="Say what this file's columns look like instead.")
    ] = None,
) -> None:
    """List the known tasks; or look into a file of your own. Columns, labels, metrics, sizes and forms are told."""
    from bertwright.tasks.catalogue import listing, listing_lines
    from bertwright.tasks.guess import guess_task

    if guess is not None:
        found = guess_task(guess)
        show(found.lines(), found.as_dict())
    else:
        show(listing_lines(), {"tasks": listing()})


def env_command() -> None:
    """Show the machine and the versions that results depend on."""
    from bertwright.pipeline.machine import machine_facts, versions

    facts, found = machine_facts(), versions()
    lines = [f"{name:14}{value}" for name, value in {**facts, **found}.items()]
    show(lines, {"machine": facts, "versions": found})


# In the order in which a user comes to need them.
app.command("demo")(demo_command)
app.command("init")(init_command)
app.command("check")(check_command)
app.command("run")(run_command)
app.command("plan")(plan_command)
app.command("status")(status_command)
app.command("report")(report_command)
app.command("predict")(predict_command)
app.command("export")(export_command)
app.command("serve")(serve_command)
app.command("prepare")(prepare_command)
app.command("pretrain")(_verb("pretrain", "Pretrain the recipe's encoder, after what it needs."))
app.command("finetune")(_verb("finetune", "Fine-tune the recipe's tasks, after what they need."))
app.command("evaluate")(_verb("evaluate", "Score the recipe's tasks, after what that needs."))
app.command("submit")(submit_command)
app.command("canaries")(canaries_command)
app.command("memorise")(memorise_command)
app.command("tasks")(tasks_command)
app.command("schema")(schema_command)
app.command("env")(env_command)
app.add_typer(exits_app, name="exits")
app.add_typer(pack_app, name="pack")
app.add_typer(store_app, name="store")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


if __name__ == "__main__":
    main()

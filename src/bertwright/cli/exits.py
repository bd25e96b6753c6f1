"""The commands of early exits."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.console import Commands, share, show
from bertwright.errors import InputError
from bertwright.units import parse_amount

exits_app = Commands(
    help="Early exits: which rows leave at an inner layer.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class _Policy(StrEnum):
    entropy = "entropy"
    confidence = "confidence"
    patience = "patience"
    learned = "learned"


@exits_app.callback()
def _exits() -> None:
    """Early exits: which rows leave at an inner layer."""


@exits_app.command("tune")
def exits_tune(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A pack, or a run's folder, with ramps.")],
    max_drop: Annotated[
        str | None,
        typer.Option(
            "--max-drop", metavar="SHARE", help="Rows that may be right in full and wrong at their exit: 0.5%."
        ),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option("--latency", metavar="TIME", help="Or what a row may take on average, here and alone: 20ms."),
    ] = None,
    delta: Annotated[float, typer.Option("--delta", help="Chance that more is lost than was promised.")] = 0.05,
    policy: Annotated[
        list[_Policy] | None, typer.Option("--policy", help="A kind of policy to try; off: all that fit.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Change that counts as none: patience in a regression.")
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows", metavar="FILE", help="Labelled rows that took part in nothing else; off: those kept back."
        ),
    ] = None,
    label: Annotated[str, typer.Option("--label", metavar="COLUMN", help="Their label column.")] = "label",
    encoder: Annotated[
        Path | None,
        typer.Option("--encoder", metavar="FOLDER", help="The encoder of a pack, where no note beside it says."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="Where to write it; off: into MODEL itself.")
    ] = None,
    show_only: Annotated[bool, typer.Option("--show", help="Show the options, and write nothing.")] = False,
) -> None:
    """Find the policies that keep a promise, or a price. The best is written into the model with its calibration."""
    from bertwright.stages.tune_exits import Wanted, tune_exits

    drop = None if max_drop is None else share("--max-drop", max_drop)
    wanted = Wanted(drop, _seconds(latency), delta, tuple(one.value for one in policy or ()), tolerance)
    done = tune_exits(model, wanted, rows=rows, label=label, encoder=encoder, out=out, keep=not show_only)
    lines = [f"{done.rows:,} calibration rows; exits after the layers {', '.join(map(str, done.layers))}"]
    if done.seconds is not None:
        lines.append("milliseconds to each exit, one row alone: " + ", ".join(f"{1e3 * s:.2f}" for s in done.seconds))
    lines += [f"{one.basis}: {one.sentence}" for one in done.options]
    best = done.options[0].policy.text
    lines.append(
        f"{done.out}: leaves by {best}; answer with: bertwright predict {done.out} FILE -o OUT --exit tuned"
        if done.out is not None
        else f"the best is {best}; nothing was written"
    )
    show(lines, done.as_dict())


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        amount = parse_amount(text)
    except ValueError as error:
        raise InputError(f"--latency: {error}") from error
    if amount.unit != "seconds":
        raise InputError(f"--latency: found {text!r}; write a time, such as 20ms")
    return amount.amount

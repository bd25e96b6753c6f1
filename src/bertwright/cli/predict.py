"""The command that answers the rows of a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bertwright.cli.console import output, show

if TYPE_CHECKING:
    from bertwright.stages.predict import Left


class _Precision(StrEnum):
    auto = "auto"
    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


def predict_command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A fine-tuned run's folder or pack: bertwright-store/runs/RECIPE/tasks/TASK/VARIANT/seed-0[.pack].",
        ),
    ],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Rows as csv, tsv, jsonl or parquet; plain, .gz, .zst, .xz or .bz2.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="OUT", help="The file to write: .csv, .tsv, .jsonl (also .gz, .zst) or .parquet."
        ),
    ],
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text", metavar="COLUMN", help="A column of text, where FILE calls it otherwise; twice for pairs."
        ),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            "--encoder", metavar="FOLDER", help="The encoder of a pack, where no note beside it says where it is."
        ),
    ] = None,
    exit_: Annotated[
        str | None,
        typer.Option(
            "--exit",
            metavar="POLICY",
            help="Let rows leave early, such as entropy:0.2, or tuned: the calibrated policy; needs ramps.",
        ),
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="What the names of new columns begin with, such as model_.")
    ] = "",
    precision: Annotated[
        _Precision, typer.Option("--precision", help="The number format; auto: what this machine is fast in.")
    ] = _Precision.auto,
) -> None:
    """Answer every row of a file with a fine-tuned run.

    Its label and probabilities stand behind the row's own columns, and the rows keep their order.
    OUT appears when all are done; the same command continues what was stopped.
    """
    from bertwright.reports.words import seconds_text
    from bertwright.screen import Screen
    from bertwright.stages.predict import predict

    with Screen(quiet=output.quiet, verbose=output.verbose) as screen:
        form = {"prefix": prefix, "precision": precision.value}
        done = predict(model, file, out, text=text or (), encoder=encoder, exit=exit_, **form, listen=screen)
    earlier = f", {done.earlier:,} of them by an earlier try" if done.earlier else ""
    cut = f"{done.cut:,} of them cut at {done.max_length} tokens" if done.cut else "none cut"
    speed = f"{seconds_text(done.seconds)}, {done.rows_per_second:,.0f} rows/s"
    empty = f", {done.empty:,} of them without text" if done.empty else ""
    notes = [f"note: {one}" for one in done.notes]
    show(
        [f"{done.out}: {done.rows:,} rows{earlier}, {cut}{empty}; {speed}", *notes, *_left(done.exits)], done.as_dict()
    )


def _left(exits: Left | None) -> list[str]:
    """Say where rows left, and warn where the text is not like the calibration's."""
    if exits is None:
        return []
    shares = ", ".join(
        f"{count:,} at layer {layer}" for layer, count in zip(exits.layers, exits.counts, strict=True) if count
    )
    lines = [
        f"{exits.policy}: {shares}; expected saving {100 * exits.saving:.1f} %",
        *(f"note: {one}" for one in exits.cautions),
    ]
    if exits.drift is not None:
        lines.append(f"{'warning' if exits.drifted else 'drift'}: {exits.drift}")
    return lines

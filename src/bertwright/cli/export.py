"""The command that writes an encoder and its packs for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.console import share, show, tell
from bertwright.errors import InputError


class _Target(StrEnum):
    onnx = "onnx"


class _Precision(StrEnum):
    int8 = "int8"
    fp32 = "fp32"
    bf16 = "bf16"


def export_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="ENCODER|[NAME=]PACK...", help="A model folder, a fine-tuned run, or packs of one encoder."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write.")],
    to: Annotated[_Target, typer.Option("--to", help="What it is written for.")] = _Target.onnx,
    precision: Annotated[
        _Precision, typer.Option("--precision", help="The numbers of the products: int8 is dynamic, per channel.")
    ] = _Precision.int8,
    encoder: Annotated[
        Path | None,
        typer.Option("--encoder", metavar="FOLDER", help="The packs' encoder, where no note beside them names it."),
    ] = None,
    segment: Annotated[
        int, typer.Option("--segment", min=1, help="Layers in a segment; rows leave between segments.")
    ] = 1,
    rows: Annotated[
        list[str] | None,
        typer.Option("--rows", metavar="[PACK=]FILE", help="Your own rows for the proof; off: drawn words."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="The column of right answers in these rows.")
    ] = None,
    most_changed: Annotated[
        str | None,
        typer.Option("--most-changed", metavar="SHARE", help="Keep layers fp32 until int8 changes no more answers."),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option("--bits", help="Bits of a matrix's numbers in int8, 8 or 7; off: as this processor needs."),
    ] = None,
    one_file: Annotated[
        bool, typer.Option("--one-file", help="One .onnx file of a whole model, for any runtime; DIR is its name.")
    ] = False,
) -> None:
    """Write an encoder and its packs for ONNX Runtime. As proof, both engines answer the same rows."""
    if precision is _Precision.bf16:
        raise InputError(
            "ONNX Runtime has no bf16 products on this kind of processor; choose --precision int8 (fastest) or fp32"
        )
    given = {"--rows": rows, "--label": label, "--most-changed": most_changed}
    if one_file and (ignored := [name for name, value in given.items() if value]):
        raise InputError(f"--one-file is proved on drawn words and takes no {', '.join(ignored)}; leave that out")
    from bertwright.deploy.export import Form
    from bertwright.deploy.processor import bits_here
    from bertwright.stages.export import Asked, export

    form = Form(precision.value, segment=segment, bits=bits or bits_here())
    paths, names = _sources(sources)
    changed = None if most_changed is None else share("--most-changed", most_changed)
    asked = Asked(paths, names, form, encoder, _files(rows or ()), label, changed)
    if one_file:
        from bertwright.stages.export_whole import export_whole

        done = export_whole(asked.sources, form, out, encoder)
        apart = ", ".join(f"{name} {value:.1e}" for name, value in done["differences"].items())
        show(
            [f"{out}: task {done['task']}, {done['bytes'] / 1e6:,.0f} MB; logits differ from torch's by {apart}"], done
        )
        return
    found = export(asked, out, tell)
    carried = f"packs {', '.join(found.packs)}" if found.packs else "no pack; the runtime adds them"
    show([f"{out}: {precision.value}, {found.size / 1e6:,.0f} MB, {carried}", *found.lines], found.as_dict())


def _sources(given: Sequence[str]) -> tuple[tuple[Path, ...], dict[Path, str]]:
    """Return the paths of what was named, and the names that packs were given."""
    paths, names = [], {}
    for one in given:
        name, sign, path = one.partition("=")
        if sign and not Path(one).exists():
            names[Path(path)] = name
        paths.append(Path(path if sign and not Path(one).exists() else one))
    return tuple(paths), names


def _files(rows: Sequence[str]) -> dict[str, Path]:
    """Return files of rows by pack; one that no pack is named for is for all others."""
    found: dict[str, Path] = {}
    for one in rows:
        pack, _, path = one.rpartition("=")
        if pack in found:
            raise InputError(f"--rows was given twice for {pack or 'all packs'}: {found[pack]} and {path}; keep one")
        found[pack] = Path(path)
    return found

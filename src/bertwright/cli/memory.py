"""The commands that look for secrets which a model learnt by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.console import show


def canaries_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")],
    count: Annotated[int, typer.Option("--count", min=1, help="Canaries to plant; as many are kept as controls.")] = 20,
    times: Annotated[int, typer.Option("--times", min=1, help="How often each is planted.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the drawn secrets.")] = 0,
) -> None:
    """Make up secrets to plant in a corpus. A text to add to it before training, and what `memorise` takes after it."""
    from bertwright.text.canaries import write_canaries

    paths = write_canaries(folder, count, seed=seed, times=times)
    following = f"bertwright memorise ENCODER {paths['secrets']} --controls {paths['controls']}"
    show(
        [f"add to prepare.sources: {paths['canaries']}", f"after pretraining: {following}"],
        {**paths},
    )


def memorise_command(
    encoder: Annotated[Path, typer.Argument(metavar="ENCODER", help="The folder of a pretrained encoder.")],
    secrets: Annotated[
        Path, typer.Argument(metavar="SECRETS", help="A text file: a line for each secret, the secret in {braces}.")
    ],
    controls: Annotated[
        Path | None,
        typer.Option("--controls", metavar="FILE", help="Secrets of the same kind that the model never read."),
    ] = None,
    among: Annotated[int, typer.Option("--among", help="Candidates that each secret is ranked among.")] = 400,
) -> None:
    """Say whether an encoder learnt secrets of its corpus by heart. The secrets are not printed."""
    from bertwright.stages.memorise import memorised

    found = memorised(encoder, secrets, controls, among=among)
    lines = [f"{'line':>6}  {'tokens':>6}  {'rank':>6}  {'bits':>5}"]
    lines += [f"{one.line:6}  {one.tokens:6}  {one.rank:6}  {one.bits:5.1f}" for one in found.secrets]
    show([*lines, *found.sentences], found.as_dict())

"""The names that people know of what a run left: links to stages, and a card for each model and pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bertwright import files, pack
from bertwright.pipeline.stage import Input, Stage
from bertwright.reports.card import markdown
from bertwright.reports.cards import stage_card
from bertwright.reports.pack_cards import pack_card
from bertwright.store import Sealed

CARDS = "cards"
_WITH_CARDS = ("pretrain", "biases", "finetune", "ramps")


def link_names(folder: Path, done: Mapping[str, Sealed]) -> None:
    """Link human names to what stages left.

    They are ``encoder``, ``encoder-25``, ``tasks/<task>/<variant>/seed-<n>`` and, with their scores, ``seed-<n>.pack``.
    """
    targets: dict[str, Path] = {}
    for name, sealed in done.items():
        if name.startswith(("search/", "choose/")):
            continue  # what came of them is in the report
        human = human_name(name)
        targets[human] = sealed.folder / "model" if (sealed.folder / "model").is_dir() else sealed.folder
        targets |= {human + saved.name.removeprefix("model"): saved for saved in sealed.folder.glob("model-*")}
        targets |= {f"{of_pack}{pack.SUFFIX}": path for of_pack, path in _packs(name, sealed).items()}
    for human, target in targets.items():
        files.point(folder / human, target)


def human_name(stage: str) -> str:
    """Return what a stage's result is called in a run's folder."""
    human = {"pretrain": "encoder", "prepare": "rows"}.get(stage, stage)
    return human.replace("finetune/", "tasks/").replace("ramps/", "exits/").replace("evaluate/", "scores/")


def write_run_cards(
    folder: Path,
    license: str,
    stages: Sequence[Stage],
    done: Mapping[str, Sealed],
    place_of: Callable[[Input], Path],
) -> None:
    """Write the card of each model and pack, with the scores and the licence as they are now, into ``cards``.

    The card in a sealed folder was written before its model was scored.
    """
    pages: dict[str, str] = {}
    for stage in stages:
        sealed = done.get(stage.name)
        if sealed is None:
            continue
        if stage.kind in _WITH_CARDS and (sealed.folder / "model" / "config.json").is_file():
            scored = done.get(f"evaluate/{stage.name.split('/')[1]}") if "/" in stage.name else None
            record = {**sealed.record, "name": stage.name, "license": license}
            inputs = {role: place_of(entry) for role, entry in stage.inputs.items()}
            found = stage_card(record, inputs, stage.paths, scored=scored.record["results"] if scored else None)
            pages[human_name(stage.name)] = markdown(found)
        for human, path in _packs(stage.name, sealed).items():
            pages[human] = markdown(replace(pack_card(pack.read(path)), license=license))
    for human, page in pages.items():
        path = folder / CARDS / f"{human}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != page:
            files.write_text(path, page)


def _packs(name: str, sealed: Sealed) -> dict[str, Path]:
    """Return the scored packs of a stage by their human names, without the ending."""
    packs = sorted(sealed.folder.glob(f"packs/*/*{pack.SUFFIX}"))
    return {f"tasks/{name.partition('/')[2]}/{path.parent.name}/{path.stem}": path for path in packs}

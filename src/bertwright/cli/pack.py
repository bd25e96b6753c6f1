"""The commands that look into packs, compare and blend them, and make ordinary folders of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertwright.cli.console import Commands, share, show
from bertwright.errors import DataError, InputError

if TYPE_CHECKING:
    from bertwright.pack import Pack

pack_app = Commands(
    help="Packs: one task's biases and head, for a frozen encoder.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
PackPath = Annotated[Path, typer.Argument(metavar="PACK", help="A .pack file.")]
Second = Annotated[Path, typer.Argument(metavar="OTHER", help="Another .pack file.")]
_ENCODER = "The folder of the encoder that the pack was trained on."
_BESIDE = f"{_ENCODER[:-1]}; off: the one that the note beside the pack names."


@pack_app.command("list")
def pack_list(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to look, folders in it included.")],
) -> None:
    """List the packs of a folder. Task, method, numbers, size, encoder and scores are told."""
    from bertwright.pack import read, to_bytes

    if not folder.is_dir():
        raise InputError(f"{folder} {'is a file' if folder.exists() else 'is not there'}; name a folder with packs")
    faults: list[dict[str, Any]] = []
    once: dict[bytes, tuple[Path, Pack]] = {}
    for path in _packs_in(folder):
        try:
            pack = read(path)
        except (DataError, InputError) as error:
            faults.append({"file": path, "message": str(error)})
            continue
        # A run leaves its pack, and once more with scores, under several names: it is one pack, and scores are shown.
        key = to_bytes(replace(pack, scores=(), card=None))
        if key not in once or (pack.scores and not once[key][1].scores):
            once[key] = path, pack
    sizes = [path.stat().st_size for path, _ in once.values()]
    rows = [(str(p.relative_to(folder)), *_row(one, size)) for (p, one), size in zip(once.values(), sizes, strict=True)]
    found = [{"file": p, "bytes": size, **one.header()} for (p, one), size in zip(once.values(), sizes, strict=True)]
    head = ("pack", "task", "method", "numbers", "labels", "size", "encoder", "scores")
    lines = _aligned([head, *rows]) if rows else [f"no whole pack in {folder}"]
    show([*lines, *(str(fault["message"]) for fault in faults)], {"packs": found, "faults": faults})


@pack_app.command("show")
def pack_show(path: PackPath) -> None:
    """Say what a pack is. Its task, encoder, method, counts and scores, and how far each bias moved."""
    from bertwright.pack import read
    from bertwright.pack_pairs import change

    pack = read(path)
    size, changes = path.stat().st_size, {key: change(value) for key, value in pack.biases.items()}
    lines = _told(path, pack, size)
    if changes:
        lines += ["", "mean absolute change of each bias, by layer:", *_by_layer(pack, changes, _number)]
    if any(key.endswith(".key") for key in changes) and pack.backbone.family != "modern":
        lines.append("(the key's is noise: softmax takes it away)")
    show(lines, {"file": path, "bytes": size, **pack.header(), "changes": changes})


@pack_app.command("card")
def pack_print_card(path: PackPath) -> None:
    """Print a pack's card, in Markdown. Its data, recipe, scores, licence, limits, and how to load it."""
    from bertwright.pack import read
    from bertwright.reports.card import markdown
    from bertwright.reports.pack_cards import pack_card

    page = markdown(pack_card(read(path)))
    show(page.rstrip("\n").split("\n"), {"file": path, "card": page})


@pack_app.command("verify")
def pack_verify(
    path: PackPath,
    encoder: Annotated[Path | None, typer.Option("--encoder", metavar="FOLDER", help=_ENCODER)] = None,
) -> None:
    """Read a pack strictly. With an encoder, also compare hashes and answer a probe."""
    from bertwright.pack import read

    if encoder is None:
        pack = read(path)
        told = f"made for encoder {pack.backbone.hash[:12]}; --encoder FOLDER compares it with one"
        show([f"{path}: whole; {told}"], {"file": path, "encoder": None, "probe": None})
        return
    from bertwright.stages.export_pack import verify_pack

    logits = verify_pack(path, encoder)
    numbers = ", ".join(f"{value:.3f}" for value in logits)
    lines = [f"{path}: whole, made for {encoder} and its tokenizer; a probe's logits are {numbers}"]
    show(lines, {"file": path, "encoder": encoder, "probe": logits})


@pack_app.command("export")
def pack_export(
    path: PackPath,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The model folder to write.")],
    encoder: Annotated[Path | None, typer.Option("--encoder", metavar="FOLDER", help=_BESIDE)] = None,
) -> None:
    """Write pack and encoder as one ordinary model folder. It is proved with the ordinary class."""
    from bertwright.reports.card import markdown
    from bertwright.reports.pack_cards import pack_card
    from bertwright.stages.export_pack import export_pack
    from bertwright.stages.packs import encoder_of

    def card(pack: Pack) -> str:
        return markdown(pack_card(pack, whole=True))

    done = export_pack(path, encoder or encoder_of(path), out, card)
    proof = f"{done['proof']['class']} gives the same within {done['proof']['largest_difference']:.1e}"
    show([f"{out}: task {done['task']}; {proof}", f"answer with: bertwright predict {out} FILE -o OUT"], done)


@pack_app.command("diff")
def pack_diff(path: PackPath, other: Second) -> None:
    """Compare two packs: their headers, and each bias's change by layer."""
    from bertwright.pack import read
    from bertwright.pack_pairs import diff

    first, second = read(path), read(other)
    found = diff(first, second)
    lines = [f"{key}: {one!r} in {path}, {two!r} in {other}" for key, (one, two) in found.header.items()]
    lines = lines or ["the headers are the same"]
    for name, own in ((path, [t.key for t in found.terms if t.second is None]), (other, _missing_first(found.terms))):
        if own:
            lines.append(f"only {name} has {', '.join(own)}")
    wider = first if len(first.biases) >= len(second.biases) else second
    both = [term for term in found.terms if term.first is not None and term.second is not None]
    for title, values in (
        ("mean absolute difference", {term.key: term.difference for term in both}),
        ("cosine of the changes", {term.key: term.cosine for term in both}),
    ):
        if both:
            lines += ["", f"{title}, by layer:", *_by_layer(wider, values, _number)]
    lines += ["", *(f"head/{name}: mean absolute difference {_number(value)}" for name, value in found.head.items())]
    show(lines, {"first": path, "second": other, **found.as_dict()})


@pack_app.command("blend")
def pack_blend(
    path: PackPath,
    other: Second,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The .pack file to write.")],
    part: Annotated[str, typer.Option("--share", metavar="SHARE", help="How much of OTHER: 30%, or 0.3.")] = "50%",
) -> None:
    """Write the pack that lies between two. Both are of one encoder and have the same labels."""
    from bertwright.pack import read, write
    from bertwright.pack_pairs import blend

    if out.exists():
        raise InputError(f"{out} is there already; name another file, or remove it first")
    of_other = share("--share", part)
    blended = blend(read(path), read(other), of_other)
    write(out, blended)
    told = f"{1 - of_other:g} of {path} and {of_other:g} of {other}"
    lines = [f"{out}: {told}; scores and a policy to stop by have to be measured anew"]
    show(lines, {"file": out, "share": of_other, **blended.header()})


def _packs_in(folder: Path) -> Iterator[Path]:
    """Yield a folder's packs by name. Links are followed, since runs are links, and each folder is looked into once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place) / name for name in sorted(names) if name.endswith(".pack"))


def _row(pack: Pack, size: int) -> tuple[str, ...]:
    from bertwright.reports.words import bytes_text, count_text, metric_text, score_text

    scores = ", ".join(f"{s.set} {metric_text(s.metric)} {score_text(s.value, s.metric)}" for s in pack.scores)
    method = f"{pack.method.name} {pack.method.terms or ''}".strip()
    counts = (count_text(pack.method.counts.total), str(len(pack.task.labels)))
    return (pack.task.name, method, *counts, bytes_text(size), pack.backbone.hash[:12], scores or "–")


def _told(path: Path, pack: Pack, size: int) -> list[str]:
    """Return a header in words."""
    from bertwright.reports.words import bytes_text, metric_text, plural, score_text

    backbone, task, method, counts = pack.backbone, pack.task, pack.method, pack.method.counts
    where = "all layers" if method.layers is None else f"layers {method.layers[0]}-{method.layers[1]}"
    learnt = "the head alone" if method.terms is None else f"biases {method.terms}, {where}"
    shape = f"{backbone.family}, {plural(backbone.shape['layers'], 'layer')} x {backbone.shape['width']}"
    scores = [
        f"{s.set} {metric_text(s.metric)} {score_text(s.value, s.metric)} (seed {s.seed}, {s.precision}, {s.protocol})"
        for s in pack.scores
    ]
    numbers = f"{counts.body:,} of the body, {counts.pooler:,} of the pooler, {counts.head:,} of the head"
    facts = {
        "task": f"{task.name}, {task.kind}",
        "labels": f"{len(task.labels)}: {', '.join(task.labels[:20])}{', ...' if len(task.labels) > 20 else ''}",
        "text": f"{', '.join(task.text)}; at most {task.max_length} tokens",
        "encoder": f"{shape}; {backbone.hash[:12]}, tokenizer {backbone.tokenizer[:12]}",
        "method": f"{method.name}: {learnt}",
        "numbers": f"{numbers}: {counts.total:,}, beside the encoder's {counts.of:,}",
        "scores": "; ".join(scores) or "none",
        "ramps": plural(len(pack.ramps), "tensor") if pack.ramps else "none",
        "policy": "none" if pack.policy is None else ", ".join(pack.policy),
        "recipe": pack.recipe or "not named",
    }
    return [f"{path}: {bytes_text(size)}, {pack.dtype}", *_aligned(list(facts.items()))]


def _missing_first(terms: Sequence[Any]) -> list[str]:
    return [term.key for term in terms if term.first is None]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"


def _by_layer(pack: Pack, values: Mapping[str, float | None], text: Callable[[float | None], str]) -> list[str]:
    """Return a table of terms by layers, and the terms outside the layers under it."""
    inside = [term for term in pack.terms if term.layer is not None and term.key in values]
    names = list(dict.fromkeys(term.name for term in inside))
    rows = [("layer", *names)]
    for layer in dict.fromkeys(term.layer for term in inside):
        own = {term.name: text(values[term.key]) for term in inside if term.layer == layer}
        rows.append((str(layer), *(own.get(name, "") for name in names)))
    outside = [(key, text(value)) for key, value in values.items() if not key.startswith("layers.")]
    return [*(_aligned(rows) if inside else []), *_aligned(outside)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

"""An encoder or a fine-tuned model, and packs, written as a folder for ONNX Runtime, and proved against torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright import pack as packs
from bertwright.deploy import manifest as contents
from bertwright.deploy.export import Form, note_proof, write_export
from bertwright.deploy.manifest import Manifest
from bertwright.deploy.proof import Compared, Expected, Probe, ask, check_same, compare, drawn, expected
from bertwright.deploy.runtime import Answer, Runtime
from bertwright.deploy.sensitivity import Scan
from bertwright.deploy.sources import Deployable, deployable
from bertwright.errors import InputError
from bertwright.pack import SUFFIX, Pack, Score
from bertwright.stages.export_sources import Gathered, gather
from bertwright.tasks.tables import open_table, windows
from bertwright.tasks.texts import columns_of
from bertwright.text.tokenizer import Tokenizer

_ROWS = 500
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What an export is made from and held against; ``names`` are of packs that are not called as their files are.

    ``rows`` are files of the user's own rows by pack (``""``: all others), ``label`` their column of gold labels.
    ``most_changed`` is the share of answers that int8 may change: segments stay fp32 until that holds.
    """

    sources: tuple[Path, ...]
    names: Mapping[Path, str] = field(default_factory=dict)
    form: Form = field(default_factory=Form)
    encoder: Path | None = None
    rows: Mapping[str, Path] = field(default_factory=dict)
    label: str | None = None
    most_changed: float | None = None


@dataclass(frozen=True)
class Exported:
    """What was written: its folder, packs, layers that stayed fp32, the proof, and bytes in all."""

    folder: Path
    packs: tuple[str, ...]
    kept_fp32: tuple[int, ...]
    proof: dict[str, Any]
    lines: tuple[str, ...]
    size: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        kept = {"kept_fp32": list(self.kept_fp32), "bytes": self.size}
        return {"folder": str(self.folder), "packs": list(self.packs), **kept, "proof": self.proof}


def _silent(_: str) -> None:
    """Tell nobody."""


def export(asked: Asked, out: Path, tell: Tell = _silent) -> Exported:
    """Write a folder that serves an encoder with its packs; it is there when it is whole and proved, or not at all.

    ``ProofFailed`` where ONNX Runtime's fp32 answers differ from torch's. ``InputError`` where something is at ``out``.
    """
    if out.exists():
        raise InputError(f"{out} is there already; name another folder, or remove it first")
    found = gather(asked.sources, asked.encoder, asked.names)
    unknown = sorted(set(asked.rows) - set(found.packs) - {""})
    if unknown:
        there = ", ".join(found.packs) or "none"
        raise InputError(f"--rows names {unknown[0]!r}, which is no pack of this export; its packs are {there}")
    probes = [_probe(asked, name, pack, found.tokenizer) for name, pack in found.packs.items()]
    asked.form.numbers(found.loaded.config.layers)
    made = deployable(found.loaded, found.tokenizer.identity())
    with files.writing_folder(out) as folder:
        try:
            return _Export(asked, found, made, probes, tell).write(folder, out)
        except BaseException:
            files.remove(folder)
            raise


def _probe(asked: Asked, name: str, pack: Pack, tokenizer: Tokenizer) -> Probe:
    """Return the rows that a pack is proved on: the first of the user's file, or drawn ones."""
    columns = columns_of(pack.task.text)
    path = asked.rows.get(name, asked.rows.get(""))
    if path is None:
        return drawn(name, len(columns), tokenizer)
    label = (asked.label,) if asked.label and pack.task.kind == "classification" else ()
    table = open_table(path, (*columns, *label))
    cells = tuple(islice((row for window in windows(table) for row in window.texts), _ROWS))
    if not cells:
        raise InputError(f"{path} holds no rows; name a file with some rows of pack {name}")
    if label and (bare := next((number for number, row in enumerate(cells, 1) if not row[-1].strip()), None)):
        raise InputError(
            f"{path}, row {bare}: column {asked.label!r} is empty, expected a label; fill it in, or take the row out"
        )
    texts = tuple(row[: len(columns)] for row in cells)
    return Probe(name, path.name, texts, tuple(row[-1] for row in cells) if label else None)


class _Export:
    """One export at work."""

    def __init__(self, asked: Asked, found: Gathered, made: Deployable, probes: Sequence[Probe], tell: Tell) -> None:
        self._asked, self._found, self._made, self._probes, self._tell = asked, found, made, probes, tell
        self._lines: list[str] = []

    def write(self, folder: Path, out: Path) -> Exported:
        form = self._asked.form
        want = [self._expected(probe) for probe in self._probes]
        manifest = self._written(folder, form)
        fp32, kept = folder, form.keep_fp32
        scan: dict[str, Any] = {}
        if form.precision == "int8":
            fp32 = folder / f"fp32{files.TEMPORARY}"  # inside, so that it goes with the folder if this is killed
            files.remove(fp32)
            files.make_folder(fp32)
            self._written(fp32, replace(form, precision="fp32", keep_fp32=()))
        try:
            exact = self._prove(fp32, want)
            if form.precision == "int8" and self._asked.most_changed is not None:
                found, scan = self._keep(fp32, folder)
                kept = tuple(sorted({*form.keep_fp32, *found}))
                if found:
                    manifest = self._again(folder, replace(form, keep_fp32=kept))
        finally:
            if fp32 != folder:
                files.remove(fp32)
        small = self._measure(folder, want) if form.precision == "int8" else []
        proof = {"fp32": [one.as_dict() for one in exact], "int8": [one.as_dict() for one in small], **scan}
        rewritten = self._score(folder, small)
        note_proof(folder, manifest, proof, rewritten)
        self._lines += [f"{form.precision}: {one.line()}" for one in small or exact]
        names, size = tuple(self._found.packs), files.folder_size(folder)
        return Exported(out, names, kept, proof, tuple(self._lines), size)

    def _written(self, folder: Path, form: Form) -> Manifest:
        self._tell(f"writes {form.precision} segments")
        return write_export(folder, self._made, self._found.tokenizer, form, self._found.packs)

    def _again(self, folder: Path, form: Form) -> Manifest:
        for path in folder.iterdir():
            files.remove(path)
        return self._written(folder, form)

    def _expected(self, probe: Probe) -> Expected:
        self._tell(f"answers {len(probe.cells)} rows of {probe.pack} with torch")
        return expected(self._found.loaded, self._found.packs[probe.pack], self._found.tokenizer, probe)

    def _prove(self, folder: Path, want: Sequence[Expected]) -> list[Compared]:
        runtime, found = Runtime(folder), list[Compared]()
        for probe, own in zip(self._probes, want, strict=True):
            self._tell(f"proves fp32 on {probe.pack}")
            got = ask(runtime, probe)
            check_same(probe, own, got)
            found.append(self._compared(probe, own, got))
        return found

    def _compared(self, probe: Probe, want: Expected, got: Sequence[Answer]) -> Compared:
        task = self._found.packs[probe.pack].task
        return compare(probe, task.kind, task.labels, want, got)

    def _measure(self, folder: Path, want: Sequence[Expected]) -> list[Compared]:
        runtime = Runtime(folder)
        return [self._compared(probe, own, ask(runtime, probe)) for probe, own in zip(self._probes, want, strict=True)]

    def _keep(self, fp32: Path, int8: Path) -> tuple[tuple[int, ...], dict[str, Any]]:
        """Return the layers that stay fp32, and the scan that found them."""
        most = self._asked.most_changed
        if most is None or not self._probes:
            return (), {}
        self._tell("scans which layers lose in int8")
        scan = Scan(Runtime(fp32), Runtime(int8), self._probes)
        harms = scan.harms()
        chosen = scan.choose(harms, most)
        kept = tuple(layer for harm in harms if harm.segment in chosen.segments for layer in harm.layers)
        stay = f"layers {', '.join(map(str, kept))} stay fp32" if kept else "no layer has to stay fp32"
        self._lines.append(
            f"int8 changes {100 * chosen.other_answer:.2f} % of answers, at most {100 * most:g} % asked for; {stay}"
        )
        return kept, {"scan": [harm.as_dict() for harm in harms]}

    def _score(self, folder: Path, compared: Sequence[Compared]) -> list[str]:
        """Write into each pack how well it keeps its answers in int8; return the files that changed."""
        rewritten = []
        for one in compared:
            values = {"same_answers": 1 - one.other_answer}
            values |= {} if one.right is None else {"accuracy": one.right}
            scores = [Score(one.basis, name, value, 0, "int8", "export") for name, value in values.items()]
            pack = self._found.packs[one.pack]
            name = f"{contents.PACKS}/{one.pack}{SUFFIX}"
            packs.write(folder / name, replace(pack, scores=(*pack.scores, *scores)))
            rewritten.append(name)
        return rewritten

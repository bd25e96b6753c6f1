"""The proof of an export: both engines answer the same rows, and what differs is written down.

Shapes: n rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bertwright.deploy.rows import Answer
from bertwright.deploy.runtime import Runtime
from bertwright.encoder.families import Loaded
from bertwright.encoder.models import Classifier
from bertwright.encoder.packed import fold
from bertwright.errors import ProofFailed
from bertwright.exits.compaction import ExitingClassifier, answer_exiting
from bertwright.exits.policies import parse
from bertwright.exits.ramps import from_pack
from bertwright.pack import Pack
from bertwright.tasks.batches import Encoded, averaged, in_order_of_length, lay_out
from bertwright.tasks.metrics import decide
from bertwright.tasks.texts import texts_of
from bertwright.text.tokenizer import Tokenizer

_DRAWN_ROWS = 32
_BATCH = 32
# Largest difference of logits between torch and ONNX Runtime in fp32, of logits up to 1.
PROOF = 1e-4


@dataclass(frozen=True)
class Probe:
    """Rows that a pack answers for the proof: the cells of its columns, and gold labels where they are known."""

    pack: str
    basis: str
    cells: tuple[tuple[str, ...], ...]
    gold: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Expected:
    """What torch answers in fp32: logits (n, C), layers (n,), and rows that came near a threshold, (n,)."""

    logits: np.ndarray
    layers: np.ndarray
    near: np.ndarray


@dataclass(frozen=True)
class Compared:
    """What differs from torch in fp32: ``largest`` and ``mean`` of logits (of rows that left behind the same layer),
    the share of rows with another answer and with another exit, and how many are right, where gold is known."""

    pack: str
    basis: str
    rows: int
    largest: float
    mean: float
    other_answer: float
    other_exit: float
    right_torch: float | None
    right: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def line(self) -> str:
        """Say it in a line."""
        right = (
            ""
            if self.right is None or self.right_torch is None
            else f"; right {100 * self.right:.2f} %, torch {100 * self.right_torch:.2f} %"
        )
        return (
            f"{self.pack}, {self.rows} rows of {self.basis}: logits differ by {self.mean:.2g} on average, at most "
            f"{self.largest:.2g}; {100 * self.other_answer:.2f} % other answers, "
            f"{100 * self.other_exit:.2f} % other exits{right}"
        )


def expected(loaded: Loaded, pack: Pack, tokenizer: Tokenizer, probe: Probe, exit: str | None = None) -> Expected:
    """Answer a probe's rows with torch in fp32: the encoder with the pack written in, and its ramps.

    ``exit`` stands before the pack's own policy.
    """
    model = fold(loaded, pack, tokenizer=tokenizer.identity())
    rows, text = rows_of(loaded, pack, tokenizer, probe), exit or str((pack.policy or {}).get("policy", "never"))
    count = len(rows.ids)
    if text == "never":
        logits, layers = _whole(model, rows), np.full(count, loaded.config.layers)
        near = np.zeros(count, dtype=bool)
    else:
        exiting = ExitingClassifier(model, from_pack(loaded.config, pack.ramps), parse(text, pack.task.kind))
        done = answer_exiting(exiting, rows)
        logits, layers, near = done.logits, done.layers, done.near
    if rows.owners is not None:
        starts = np.flatnonzero(np.diff(rows.owners, prepend=-1))
        layers, near = np.maximum.reduceat(layers, starts), np.logical_or.reduceat(near, starts)
    return Expected(averaged(logits, rows), layers, near)


def ask(runtime: Runtime, probe: Probe, exit: str | None = None) -> list[Answer]:
    """Answer a probe's rows with an exported folder; ``exit`` stands before the pack's own policy."""
    return runtime.predict(probe.cells, probe.pack, exit)


def compare(probe: Probe, kind: str, labels: Sequence[str], want: Expected, got: Sequence[Answer]) -> Compared:
    """Compare an exported folder's answers with torch's."""
    logits, layers = np.array([one.logits for one in got], dtype=np.float32), np.array([one.layer for one in got])
    same = layers == want.layers
    apart = np.abs(logits - want.logits)[same]
    other = (0 if kind == "regression" else 1) * (decide(logits, kind) != decide(want.logits, kind))
    changed = np.asarray(other).reshape(len(got), -1).any(axis=1)
    right = right_torch = None
    if probe.gold is not None and kind == "classification":
        gold = np.array([labels.index(one) if one in labels else -1 for one in probe.gold])
        right = float(np.mean(logits.argmax(axis=1) == gold))
        right_torch = float(np.mean(want.logits.argmax(axis=1) == gold))
    return Compared(
        probe.pack,
        probe.basis,
        len(got),
        float(apart.max(initial=0.0)),
        float(apart.mean()) if apart.size else 0.0,
        float(changed.mean()),
        float(np.mean(~same)),
        right_torch,
        right,
    )


def check_same(probe: Probe, want: Expected, got: Sequence[Answer]) -> None:
    """Refuse a graph that computes something else than torch in fp32 (``ProofFailed``)."""
    for number, answer in enumerate(got):
        if answer.layer != want.layers[number]:
            if want.near[number]:
                continue  # rounding decides
            raise ProofFailed(
                f"pack {probe.pack}, row {number + 1} of {probe.basis}: leaves behind layer {answer.layer} on ONNX "
                f"Runtime and {want.layers[number]} on torch, both fp32. This is a fault of bertwright: report it."
            )
        scale = max(1.0, float(np.abs(want.logits[number]).max()))
        apart = float(np.abs(np.array(answer.logits) - want.logits[number]).max())
        if not apart <= PROOF * scale:
            raise ProofFailed(
                f"pack {probe.pack}, row {number + 1} of {probe.basis}: logits differ by {apart:.2g} between ONNX "
                f"Runtime and torch, both fp32; at most {PROOF * scale:g} is allowed. This is a fault of bertwright: "
                "report it, and do not use the export."
            )


def drawn(pack: str, columns: int, tokenizer: Tokenizer) -> Probe:
    """Return made-up rows, for packs whose own rows were not named: pieces of the vocabulary, 1 to 40 a text."""
    generator = np.random.Generator(np.random.Philox(key=[0, 0]))
    ordinary = np.setdiff1d(np.arange(tokenizer.vocabulary), sorted(tokenizer.special_ids))
    cells = tuple(
        tuple(tokenizer.decode(generator.choice(ordinary, generator.integers(1, 41)).tolist()) for _ in range(columns))
        for _ in range(_DRAWN_ROWS)
    )
    return Probe(pack, "drawn words", cells)


def rows_of(loaded: Loaded, pack: Pack, tokenizer: Tokenizer, probe: Probe) -> Encoded:
    """Return a probe's rows as torch is given them: texts made of cells, laid out as in training."""
    task = pack.task
    texts = [texts_of(task.text, cells, brackets=task.brackets) for cells in probe.cells]
    return lay_out(texts, np.zeros(len(texts)), tokenizer, loaded.config, task.max_length, task.window_stride)


@torch.inference_mode()
def _whole(model: Classifier, rows: Encoded) -> np.ndarray:
    found = np.empty((len(rows.ids), model.head.output.out_features), dtype=np.float32)
    for chosen, batch in in_order_of_length(rows, _BATCH):
        found[chosen] = model(batch["ids"], batch["mask"], batch["segments"]).numpy()
    return found

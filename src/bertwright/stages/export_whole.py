"""A whole model as one .onnx file of ordinary operators, for any runtime, and proved on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from bertwright import files
from bertwright.deploy.bank import Bank
from bertwright.deploy.export import Form
from bertwright.deploy.proof import PROOF, drawn, expected, rows_of
from bertwright.deploy.sources import deployable
from bertwright.deploy.whole import INPUTS, whole_model
from bertwright.errors import InputError, ProofFailed
from bertwright.stages.export_sources import gather
from bertwright.tasks.batches import Encoded, averaged, in_order_of_length


def export_whole(sources: tuple[Path, ...], form: Form, out: Path, encoder: Path | None = None) -> dict[str, Any]:
    """Write a fine-tuned model, or an encoder with one pack written in, as one file; return its proof.

    ``ProofFailed`` where its fp32 form answers otherwise than torch. ``InputError`` where there is not one task.
    """
    if out.suffix != ".onnx":
        raise InputError(f"{out}: the name of one file for other runtimes ends in .onnx")
    if out.exists():
        raise InputError(f"{out} is there already; name another file, or remove it first")
    found = gather(sources, encoder)
    if len(found.packs) != 1:
        raise InputError(
            f"one file answers one task, and {len(found.packs)} were named; name a tuned model or one pack"
        )
    (name, pack), made = next(iter(found.packs.items())), deployable(found.loaded, found.tokenizer.identity())
    entry = Bank(made.backbone, made.own, frozenset(range(1, found.loaded.config.layers))).entry(name, pack)
    head = entry.head.arrays()
    probe = drawn(name, len(entry.info.columns), found.tokenizer)
    want = expected(found.loaded, pack, found.tokenizer, probe, exit="never")
    rows = rows_of(found.loaded, pack, found.tokenizer, probe)
    differences = {}
    for precision in dict.fromkeys(("fp32", form.precision)):
        one = Form(precision, keep_fp32=form.keep_fp32, bits=form.bits)
        model = whole_model(made.source, entry.flat, head, one.numbers(found.loaded.config.layers))
        content = model.SerializeToString()
        differences[precision] = float(np.abs(_answers(content, rows) - want.logits).max())
    limit = PROOF * max(1.0, float(np.abs(want.logits).max()))
    if not differences["fp32"] <= limit:
        raise ProofFailed(
            f"{out}: logits differ from torch's by {differences['fp32']:.2g}, both fp32; at most {limit:g} is allowed. "
            "This is a fault of bertwright: report it."
        )
    onnx.checker.check_model(onnx.load_from_string(content))
    files.write_bytes(out, content)
    size = out.stat().st_size
    return {"file": str(out), "task": name, "labels": list(pack.task.labels), "differences": differences, "bytes": size}


def _answers(content: bytes, rows: Encoded) -> np.ndarray:
    """Return a model's logits for rows, (n, C), those of a row's windows averaged."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    taken, logits = {one.name for one in session.get_inputs()}, dict[int, np.ndarray]()
    for chosen, batch in in_order_of_length(rows, 8):
        ids = batch["ids"].numpy()
        mask = np.ones_like(ids) if batch["mask"] is None else batch["mask"].numpy().astype(np.int64)
        given = {"ids": ids, "mask": mask, "segments": batch["segments"].numpy()}
        (found,) = session.run(["logits"], {theirs: given[ours] for theirs, ours in INPUTS.items() if theirs in taken})
        logits |= zip(chosen.tolist(), found, strict=True)
    return averaged(np.stack([logits[row] for row in range(len(rows.ids))]), rows)

"""A pack together with its encoder's folder: does it fit, and the ordinary model folder that both make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertwright import files
from bertwright.encoder import families
from bertwright.encoder.model_folder import save_model
from bertwright.encoder.packed import Resident, fold
from bertwright.errors import InputError, RunError
from bertwright.pack import Pack, read
from bertwright.stages.fine_tuned import TASK, answer_rows, in_pack
from bertwright.tasks.batches import lay_out
from bertwright.tasks.texts import columns_of
from bertwright.text.tokenizer import Tokenizer

_PROBE = "a probe of some words"


def verify_pack(path: Path, encoder: Path) -> list[float]:
    """Read a pack, compare it with an encoder's folder, and return its logits (C,) for a probe, fp32.

    ``DataError`` where it was made for another encoder or tokenizer.
    """
    pack = read(path)
    tokenizer = Tokenizer.load(encoder)
    here = Resident(families.load(encoder), tokenizer=tokenizer.identity())
    here.attach(pack)
    texts = [(_PROBE,) * max(1, len(pack.task.text))]
    rows = lay_out(texts, np.zeros(1), tokenizer, here.config, pack.task.max_length)
    logits = answer_rows(here.model, rows, torch.device("cpu"))[0]
    if not np.isfinite(logits).all():
        raise RunError(f"{path}: answers a probe with {logits.tolist()}, which are no numbers; train the task again")
    return [float(value) for value in logits]


def export_pack(path: Path, encoder: Path, out: Path, card: Callable[[Pack], str] | None = None) -> dict[str, Any]:
    """Write the ordinary model folder that a pack and its encoder make, with its task, and return its proof.

    ``bertwright predict`` and the ordinary classes read it; ``card`` makes its README of the pack. ``InputError`` where
    something is at ``out`` already.
    """
    if out.exists():
        raise InputError(f"{out} is there already; name another folder, or remove it first")
    pack: Pack = read(path)
    tokenizer = Tokenizer.load(encoder)
    model = fold(families.load(encoder), pack, tokenizer=tokenizer.identity())
    task = pack.task
    with files.writing_folder(out) as folder:
        proof = save_model(folder, model, tokenizer, labels=task.labels, problem=task.kind)
        files.write_json(folder / TASK, asdict(in_pack(task)))
        if card is not None:
            files.write_text(folder / "README.md", card(pack))
    return {"folder": out, "task": task.name, "columns": list(columns_of(task.text)), "proof": proof}

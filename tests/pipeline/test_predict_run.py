"""A recipe's run answers a file as `evaluate` scored it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.special import softmax

import bertwright
from bertwright.stages.fine_tuned import answering, find
from bertwright.training.precision import choose

Toy = Callable[..., Path]


def test_a_run_answers_as_it_was_scored(toy: Toy, tmp_path: Path) -> None:
    """Same logits, same answers on the set's file; a copy of the model's folder alone does as well."""
    result = bertwright.run(toy(pretrain=None, finetune={"seeds": 1, "baseline": False}, report=False))
    scored = pq.read_table(next(result.stages["evaluate/height"].folder.rglob("dev.parquet")))
    logits = np.array(scored["logits"].to_pylist(), dtype=np.float32)
    run = result.folder / "tasks" / "height" / "untrained" / "seed-0"

    done = bertwright.predict(run, tmp_path / "dev.jsonl", tmp_path / "out.jsonl", precision="fp32")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert 24 == done.rows == len(rows)
    assert [("high", "low")[n] for n in scored["predicted"].to_pylist()] == [row["prediction"] for row in rows]
    given = [list(row["probabilities"].values()) for row in rows]
    np.testing.assert_allclose(softmax(logits, axis=1), given, atol=1e-6)

    folder, task = find(run)
    model = answering(folder, choose("cpu", "fp32"))
    found = model.logits(model.encode([(row["text"],) for row in rows], task.max_length))
    np.testing.assert_array_equal(logits, found)

    shutil.copytree(run, tmp_path / "copied")
    shutil.rmtree(bertwright.load_recipe(tmp_path / "toy.yaml").store)
    bertwright.predict(tmp_path / "copied", tmp_path / "dev.jsonl", tmp_path / "again.jsonl", precision="fp32")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()

"""The server on a real export: a toy encoder in ONNX, packs with other labels, columns and exits, over real sockets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_server import Start

from bertwright.bias_terms import terms_of
from bertwright.deploy.export import Form, write_export
from bertwright.deploy.runtime import Runtime
from bertwright.deploy.sources import deployable
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.families import Loaded
from bertwright.encoder.models import build_masked_lm
from bertwright.pack import Backbone, Pack, PackTask, make, write
from bertwright.text.tokenizer import train_tokenizer

WORDS = [a + b for a in ("ba", "ko", "mi", "tu", "re") for b in ("lan", "ret", "son", "kim")]
WIDTH, LAYERS = 16, 3


def drawn(backbone: Backbone, seed: int, classes: int, columns: int, *, ramps: bool) -> Pack:
    """A pack of drawn biases, head and ramps."""
    draw = np.random.default_rng(seed)
    task = PackTask(f"task {seed}", "classification", ("a", "b")[:columns], tuple("uvwxyz"[:classes]), 24)
    head = {"output.weight": (classes, WIDTH), "output.bias": (classes,)}
    terms = terms_of("bert", layers=LAYERS, width=WIDTH, inner=24, pooler=True)
    own = {f"{layer}/{name}": draw.normal(0, 1, shape) for layer in (1, 2) for name, shape in head.items()}
    return make(
        backbone=backbone,
        task=task,
        method="bitfit",
        terms="all",
        biases={term.key: draw.normal(0, 0.3, term.size) for term in terms},
        head={name: draw.normal(0, 1, shape) for name, shape in head.items()},
        of=1,
        ramps=own if ramps else None,
        policy={"policy": "entropy:0.5"} if ramps else None,
    )


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with three packs beside it."""
    folder = tmp_path_factory.mktemp("served")
    tokenizer = train_tokenizer(WORDS, kind="wordpiece", vocabulary=50, lowercase=True)
    shape = EncoderConfig(
        family="bert", vocabulary=50, width=WIDTH, layers=LAYERS, heads=2, inner=24, positions=40, segments=2, pad_id=0
    )
    model, generator = build_masked_lm(shape, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    loaded = Loaded(shape, model.encoder, None, torch.nn.Linear(WIDTH, WIDTH), None, None, ())
    made = deployable(loaded, tokenizer.identity())
    (folder / "export").mkdir()
    (folder / "packs").mkdir()
    write_export(folder / "export", made, tokenizer, Form("int8"))
    write(folder / "packs" / "two.pack", drawn(made.backbone, 1, 2, 1, ramps=True))
    write(folder / "packs" / "pairs.pack", drawn(made.backbone, 2, 5, 2, ramps=False))
    foreign = drawn(replace(made.backbone, hash="f" * 64), 3, 3, 1, ramps=False)
    write(folder / "packs" / "foreign.pack", foreign)
    return folder


def test_mixed_rows_of_many_clients_are_those_of_each_text_alone(export: Path, start: Start) -> None:
    """Labels, logits and layers, whatever rows shared their batch; a foreign pack is told and harms no other."""
    # Three rows a batch, so that one request is many batches.
    runtime = Runtime(export / "export", threads=1)
    server = start(runtime=runtime, folder=export / "packs", batch_tokens=64)
    found = server.ask("GET", "/v1/packs").json
    assert ["pairs", "two"] == [pack["name"] for pack in found["packs"]]
    [fault] = found["faults"]
    assert "foreign.pack" == fault["file"]
    draw, rows = np.random.default_rng(0), []
    for number in range(120):
        texts = [" ".join(draw.choice(WORDS, draw.integers(1, 30))) for _ in range(1 + number % 2)]
        rows.append({"pack": "pairs" if number % 2 else "two", "text": texts if number % 2 else texts[0]})
    answers = server.classify({"rows": rows, "logits": True}).json["answers"]
    alone = [
        runtime.predict([row["text"] if isinstance(row["text"], str) else tuple(row["text"])], row["pack"])[0]
        for row in rows
    ]
    assert {3} < {one.layer for one in alone}
    assert [(one.label, one.layer, one.truncated) for one in alone] == [
        (answer["label"], answer["layer"], answer["truncated"]) for answer in answers
    ]
    for one, answer in zip(alone, answers, strict=True):
        assert np.allclose(one.logits, answer["logits"], atol=1e-3)

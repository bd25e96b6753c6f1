"""The server on a real export: packs of several sizes, one whose rows leave early, over real sockets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from toy_exports import TEXTS, MakeToy, ramped
from toy_server import Start

from bertwright.pack import write


def test_mixed_rows_are_those_of_each_text_alone_and_of_torch(tmp_path: Path, make_toy: MakeToy, start: Start) -> None:
    """Labels, logits and layers, whatever rows share a batch; a foreign pack is told and harms no other."""
    toy = make_toy()
    early = ramped(toy, "a", "entropy:0.6")
    write(tmp_path / "early.pack", early)
    write(tmp_path / "foreign.pack", replace(toy.packs["b"], backbone=replace(early.backbone, hash="f" * 64)))
    # About three rows a batch, so that one request is many batches.
    runtime = toy.runtime()
    server = start(runtime=runtime, folder=tmp_path, batch_tokens=64)
    found = server.ask("GET", "/v1/packs").json
    assert ["a", "b", "c", "early"] == [pack["name"] for pack in found["packs"]]
    assert ["foreign.pack"] == [fault["file"] for fault in found["faults"]]
    rows = [(pack, text) for text in TEXTS for pack in ("a", "early", "b", "c")]
    body = {"rows": [{"pack": pack, "text": text} for pack, text in rows], "logits": True}
    answers = server.classify(body).json["answers"]
    alone = [runtime.predict([text], pack)[0] for pack, text in rows]
    assert {1, 2, 3} >= {one.layer for one in alone} > {3}
    assert [(one.pack, one.label, one.layer) for one in alone] == [
        (answer["pack"], answer["label"], answer["layer"]) for answer in answers
    ]
    for one, answer in zip(alone, answers, strict=True):
        # The toy's ramps are made steep, and their rounding with them.
        assert np.allclose(one.logits, answer["logits"], atol=1e-3)
    plain = [(pack, text, answer) for (pack, text), answer in zip(rows, answers, strict=True) if pack != "early"]
    torch = toy.torch_logits([pack for pack, _, _ in plain], [text for _, text, _ in plain])
    for logits, (_, _, answer) in zip(torch, plain, strict=True):
        assert np.allclose(logits, answer["logits"], atol=1e-4)

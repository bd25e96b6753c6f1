"""The server on a real export: packs of several sizes, one whose rows leave early, over real sockets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
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


def test_a_client_says_when_rows_leave(tmp_path: Path, make_toy: MakeToy, start: Start) -> None:
    """Of a request or of a row: never, tuned, a policy; a row's own word stands first. Others are not counted."""
    toy = make_toy()
    write(tmp_path / "early.pack", ramped(toy, "a", "entropy:0.6"))
    server = start(runtime=toy.runtime(), folder=tmp_path)
    watched: list[tuple[str, int]] = []
    server.service.exits.left = lambda *left: watched.append(left)  # type: ignore[method-assign]

    def layers(**request: object) -> list[int]:
        answers = server.classify({"pack": "early", "texts": TEXTS, **request}).json["answers"]
        return [one["layer"] for one in answers]

    assert {1, 3} <= set(own := layers())
    assert own == layers(exit="tuned") == layers(exit=None)
    assert watched == [("early", layer) for layer in own] * 3
    assert {3} == set(layers(exit="never"))
    assert {1} == set(layers(exit="confidence:0.1"))
    rows = [{"pack": "early", "text": TEXTS[0], **own} for own in ({}, {"exit": "never"}, {"exit": "confidence:0.1"})]
    mixed = server.classify({"rows": rows, "exit": "confidence:0.1"}).json["answers"]
    assert [1, 3, 1] == [one["layer"] for one in mixed]
    assert len(watched) == 3 * len(own)


@pytest.mark.parametrize(
    ("pack", "exit", "told"),
    [
        ("early", "soon", "exit policy 'soon' is not known; write one of entropy:0.2"),
        ("early", "entropy:", "is not a number"),
        ("early", "confidence:0.9,0.8,0.7", "has 3 thresholds for 2 ramps"),
        ("early", "learned:0.9", "these have none"),
        ("b", "entropy:0.2", "pack b has no ramps"),
        ("early", 0.9, "a number at exit"),
        ("early", "x" * 201, "at most 200 characters"),
    ],
)
def test_an_exit_that_makes_no_sense_is_refused(
    tmp_path: Path, make_toy: MakeToy, start: Start, pack: str, exit: object, told: str
) -> None:
    """422, and what was found."""
    toy = make_toy()
    write(tmp_path / "early.pack", ramped(toy, "a", "entropy:0.6"))
    found = start(runtime=toy.runtime(), folder=tmp_path).classify({"pack": pack, "texts": TEXTS, "exit": exit})
    assert 422 == found.status
    assert told in " ".join(found.json["error"].values())

"""Batches cut into lanes, a thread each: the same answers; heads' products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from toy_exports import TEXTS, MakeToy, ramped

from bertwright.deploy import engine, sessions
from bertwright.deploy.engine import Engine
from bertwright.deploy.export import Form
from bertwright.deploy.rows import Row
from bertwright.deploy.runtime import Runtime


@given(some.lists(some.integers(1, 512), min_size=1, max_size=70), some.integers(1, 9))
def test_lanes_share_the_tokens(lengths: list[int], threads: int) -> None:
    """Every window is in one lane; no lane has more than its share by more than the longest window."""
    here = Engine.__new__(Engine)
    here.threads = threads
    ordered = np.array(sorted(lengths, reverse=True))
    lanes = here.cut(ordered)
    assert list(range(len(lengths))) == [number for lane in lanes for number in range(lane.start, lane.stop)]
    assert 1 <= len(lanes) <= threads
    if len(lanes) > 1:
        assert max(ordered[lane].sum() for lane in lanes) <= ordered.sum() / threads + ordered[0]


def test_few_tokens_are_not_cut() -> None:
    """Two threads take 31 + 32 tokens together, and 32 + 32 apart."""
    here = Engine.__new__(Engine)
    here.threads = 2
    assert [slice(0, 2)] == here.cut(np.array([32, 31]))
    assert [slice(0, 1), slice(1, 2)] == here.cut(np.array([32, 32]))


@pytest.mark.parametrize(
    ("family", "pooling", "precision"),
    [("bert", "cls", "int8"), ("modern", "mean", "fp32"), ("bert-preln", "mean", "fp32"), ("roberta", "cls", "fp32")],
)
def test_lanes_answer_as_one_does(
    make_toy: MakeToy, monkeypatch: pytest.MonkeyPatch, family: str, pooling: str, precision: str
) -> None:
    """Rows of four packs, of other lengths, some of which leave: three lanes say what one thread says."""
    monkeypatch.setattr(engine, "LEAST", 1)
    own = make_toy(family, pooling=pooling, form=Form(precision))
    rows = [Row((text,), name) for text in TEXTS for name in ("a", "leaving", "b")]
    found = []
    for threads in (1, 3):
        here = Runtime(own.folder, threads=threads)
        here.add(ramped(own, "c", "entropy:0.9"), "leaving")
        flight = here.begin([here.encode(row) for row in rows])
        assert threads == len(flight._lanes)
        found.append(flight.run())
    alone, lanes = found
    assert {1, 3} <= {one.layer for one in alone}
    assert [one.layer for one in alone] == [one.layer for one in lanes]
    for a, b in zip(alone, lanes, strict=True):
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-5, rtol=1e-4)


def test_heads_leave_no_threads_of_numpy_at_work(make_toy: MakeToy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense layers of heads and ramps are multiplied by ONNX Runtime: as many as there are looks at rows."""
    own = make_toy()
    here = own.runtime()
    here.add(ramped(own, "c", "entropy:0.0001"), "leaving")
    asked: list[tuple[int, ...]] = []
    real = Engine.product

    def product(self: Engine, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        asked.append(x.shape)
        return real(self, x, weight)

    monkeypatch.setattr(Engine, "product", product)
    assert {3} == {one.layer for one in here.predict(TEXTS[:4], "leaving")}
    assert [(4, 16)] * 3 == asked
    x, weight = np.eye(3, dtype=np.float32) * 2, np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(2 * weight.T, real(here._engine, x, weight))


def test_each_graph_is_opened_once_for_so_many_threads(make_toy: MakeToy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments share a session, however many they are: one for all threads, one for lanes; the embeddings have one."""
    asked: list[tuple[str, int]] = []
    real = sessions.opened

    def opened(path: Path, threads: int) -> object:
        asked.append((path.name, threads))
        return real(path, threads)

    monkeypatch.setattr(sessions, "opened", opened)
    Runtime(make_toy().folder, threads=2)
    shared = {"embeddings.onnx", "segments.onnx"}
    expected = [("embeddings.onnx", 1), ("segments.onnx", 1), ("segments.onnx", 2)]
    assert expected == sorted(one for one in asked if one[0] in shared)

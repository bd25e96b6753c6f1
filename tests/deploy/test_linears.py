"""Products in int8, by hand and against fp32."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from bertwright.deploy.linears import Linears, quantized
from bertwright.deploy.nodes import BLOCKS_OPSET, OPSET, Graph
from bertwright.deploy.processor import bits_here, overflows


def product(x: np.ndarray, weight: np.ndarray, *, precision: str = "int8", **options: object) -> np.ndarray:
    """Return what a graph of one product gives."""
    graph = Graph(OPSET if options.get("standard") else BLOCKS_OPSET)
    after_gelu = bool(options.pop("after_gelu", False))
    linears = Linears(graph, precision=precision, **options)  # type: ignore[arg-type]
    graph.name(linears.product("x", weight, after_gelu=after_gelu), "y")
    model = graph.model("one", {"x": ("float32", list(x.shape))}, {"y": [*x.shape[:-1], len(weight)]})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def test_each_column_has_a_step_of_its_own() -> None:
    """The largest number of a column is 127 steps (63 in 7 bits); a column of zeros stays zeros."""
    matrix = np.array([[1.27, -0.5, 0.0], [-0.635, 0.25, 0.0]], dtype=np.float32)
    small = quantized(matrix)
    np.testing.assert_array_equal([[127, -127, 0], [-64, 64, 0]], small.values)
    np.testing.assert_allclose([0.01, 0.5 / 127], small.steps[:2], rtol=1e-6)
    assert 63 == quantized(matrix, 7).values.max()


def test_a_token_is_measured_by_itself() -> None:
    """[1, 0.5] is 127 and 64 steps of 1/127 beside a token a thousand times larger."""
    x = np.array([[[1.0, 0.5], [1000.0, -1000.0]]], dtype=np.float32)
    weight = np.eye(2, dtype=np.float32)
    np.testing.assert_allclose([[1.0, 64 / 127], [1000.0, -1000.0]], product(x, weight)[0], rtol=1e-6)


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize("after_gelu", [False, True])
def test_int8_is_near_the_product(standard: bool, after_gelu: bool) -> None:
    """With drawn numbers a product is within a hundredth of its spread, with both sets of operators."""
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, (2, 5, 64)).astype(np.float32)
    if after_gelu:
        x = np.asarray(np.maximum(x, -0.17) * 3)
        x[x < 0] /= 3
    weight = draw.normal(0, 1, (32, 64)).astype(np.float32)
    exact = x @ weight.T
    found = product(x, weight, standard=standard, after_gelu=after_gelu)
    assert 0.001 < np.abs(found - exact).std() / exact.std() < 0.012


def test_what_gelu_leaves_below_zero_is_kept() -> None:
    """-0.17 is not cut to 0 where the largest value is small: steps are at most 0.0107 wide."""
    x = np.array([[[-0.17, 0.3]]], dtype=np.float32)
    found = product(x, np.eye(2, dtype=np.float32), after_gelu=True)[0, 0]
    np.testing.assert_allclose([-0.17, 0.3], found, atol=0.0055)
    assert found[0] < -0.15


def test_fp32_is_the_product() -> None:
    """fp32 rounds nothing."""
    x, weight = np.array([[[1.0, 0.3]]], dtype=np.float32), np.array([[0.1, 0.7]], dtype=np.float32)
    np.testing.assert_allclose([[[0.31]]], product(x, weight, precision="fp32"), rtol=1e-6)


def test_seven_bits_where_eight_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors with VNNI take 8 bits, others 7."""
    for flags, bits in (("avx512f avx512_vnni", 8), ("avx2", 7)):
        overflows.cache_clear()
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        monkeypatch.setattr("pathlib.Path.is_file", lambda _: True)
        monkeypatch.setattr("pathlib.Path.read_text", lambda *_, flags=flags, **__: f"flags : {flags}\n")
        assert bits == bits_here()
    overflows.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert 8 == bits_here()
    overflows.cache_clear()

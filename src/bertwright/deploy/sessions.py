"""ONNX Runtime's sessions over an exported folder's parts. Shapes: B rows, T positions, H width, S biases of a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bertwright.deploy.layout import Layout, Slice
from bertwright.deploy.manifest import EMBEDDINGS, SEGMENTS, Manifest
from bertwright.errors import DataError, InputError

FIRST, STATES = "first", "states"
# Numbers of states up to which a copy costs less than handing them on without one (0.04 ms a segment).
_FEW = 1 << 16
# Microseconds that threads stay awake after their work: from one segment to the next, and not into others' work.
_AWAKE = 500


def onnxruntime() -> Any:
    """Return the module; ``InputError`` says what installs it."""
    try:
        import onnxruntime as module
    except ImportError as error:
        raise InputError(
            'this needs onnxruntime, which is not installed here; `pip install "bertwright[serve]"` brings it'
        ) from error
    return module


@lru_cache(maxsize=1)
def _one_arena() -> None:
    """Have all sessions of this process take memory from one place: a part works where the part before it did.

    With a place of its own for each, the parts together take a dozen times as much, and push it out of the cache.
    """
    module = onnxruntime()
    place = module.OrtMemoryInfo("Cpu", module.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, module.OrtMemType.DEFAULT)
    # It grows by what is asked for (1), not by doubling; -1 leaves the rest as it is.
    grow = {"max_mem": 0, "arena_extend_strategy": 1, "initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    module.create_and_register_allocator(place, module.OrtArenaCfg(grow))


def opened(path: Path, threads: int) -> Any:
    """Return ONNX Runtime's session over a file; ``DataError`` where it cannot be opened."""
    runtime = onnxruntime()
    _one_arena()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_AWAKE))
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Graphs are written as they are fastest; joining a sum with the norm behind it makes both slower.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises its own kinds, without a common base
        raise DataError(f"{path} cannot be opened ({error}); export the encoder again") from error


@dataclass(frozen=True)
class Stepped:
    """What a part gave: the first token's states (B, H), where there are such, and all of them (B, T, H), for the next.

    Few states come as numpy's array; many stay where ONNX Runtime has them, since a copy of each layer's would cost
    some percent.
    """

    states: Any
    first: np.ndarray | None


class Session:
    """One part at work, for any number of callers at once. ``number`` is a segment's, where ``session`` has several."""

    def __init__(self, session: Any, layers: Sequence[int], place: Slice | None, number: int = 0) -> None:
        self._session = session
        self.layers, self.place = layers, place
        self._own = {"segment": np.array(number)}
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]
        self._few = _FEW // int(self._session.get_outputs()[0].shape[-1])
        self._value = onnxruntime().OrtValue.ortvalue_from_numpy

    def run(self, given: Mapping[str, np.ndarray], states: Any = None, *, look: bool = True) -> Stepped:
        """Run the part on inputs by name, and on states from the part before; ``look``: the first token is wanted."""
        wanted = [name for name in self._outputs if look or name != FIRST]
        all_given = {**given, **self._own}
        arrays = {name: all_given[name] for name in self._inputs if name in all_given}
        few = given["mask" if states is not None else "ids"].size <= self._few
        if few and not hasattr(states, "numpy"):
            feeds = arrays if states is None else {**arrays, f"{STATES}_in": states}
            found = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
            return Stepped(found.get(STATES), found.get(FIRST))
        values = {name: self._value(array) for name, array in arrays.items()}
        if states is not None:
            values[f"{STATES}_in"] = states if hasattr(states, "numpy") else self._value(states)
        found = dict(zip(wanted, self._session.run_with_ort_values(wanted, values), strict=True))
        first = found.get(FIRST)
        return Stepped(found.get(STATES), None if first is None else first.numpy())


def array(states: Any) -> np.ndarray:
    """Return the states that a part gave as numpy's, (B, T, H)."""
    return np.asarray(states.numpy() if hasattr(states, "numpy") else states)


def embeddings(folder: Path, layout: Layout) -> Session:
    """Open a folder's embeddings, on one thread: waking a second one costs more than they do."""
    return Session(opened(folder / EMBEDDINGS, 1), (), layout.of("embedding-norm"))


def segments(folder: Path, manifest: Manifest, layout: Layout, threads: int) -> list[Session]:
    """Open a folder's segments: one graph, of which each takes its own part."""
    graph = opened(folder / SEGMENTS, threads)
    return [
        Session(graph, segment.layers, layout.layers(segment.layers), number)
        for number, segment in enumerate(manifest.segments)
    ]


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return the biases of rows, each (1, S), as (B, 1, S); of rows that are all of one pack, as (1, 1, S)."""
    if all(row.base is rows[0].base and row.base is not None for row in rows):
        return rows[0][None]
    return np.stack(rows)

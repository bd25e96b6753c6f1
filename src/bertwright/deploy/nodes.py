"""An ONNX graph under construction: constants, nodes, and the model file they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import xxhash
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from bertwright import door

MICROSOFT = "com.microsoft"
# Gelu is an operator from 20 on, which every runtime of 2024 reads; numbers are quantised in blocks from 21 on.
OPSET, BLOCKS_OPSET = 20, 21
_IR = 10
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}
# Tensors from this size on lie in the weights' file, which processes share.
_OUTSIDE = 1024

Stored = dict[bytes, tuple[str, int, int]]
"""Tensors in files of weights: by a hash of their bytes the file's name, their place in it and their length."""


class Graph:
    """Nodes and constants in the order in which they were asked for. Tensors are known by their names.

    ``prefix`` begins all names of its own, so that graphs can stand in one another.
    """

    def __init__(self, opset: int = OPSET, prefix: str = "") -> None:
        self._opset, self._prefix = opset, prefix
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._scalars: dict[tuple[str, bytes], str] = {}
        self._count = 0

    def constant(self, value: Any) -> str:
        """Return the name of a constant; small ones that are alike are stored once."""
        array = np.asarray(value)
        key = (f"{array.dtype}{array.shape}", array.tobytes()) if array.nbytes <= 64 else None
        if key in self._scalars:
            return self._scalars[key]
        name = self._next("constant")
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        if key is not None:
            self._scalars[key] = name
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output and return that output's name; an absent input is an empty name."""
        return self.nodes(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def nodes(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node of several outputs and return their names."""
        names = [self._next(kind.lower()) for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Cut a tensor into parts of these sizes along its last axis."""
        if len(sizes) == 1:
            return [x]
        return self.nodes("Split", x, self.constant(np.array(sizes, dtype=np.int64)), outputs=len(sizes), axis=-1)

    def name(self, x: str, output: str) -> str:
        """Give a tensor the name of an output, by which it is known from here on."""
        if not any(x in node.output for node in self._nodes):
            self._nodes.append(helper.make_node("Identity", [x], [output]))
            return output
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [output if one == x else one for one in names]
        return output

    def model(
        self, name: str, inputs: Mapping[str, tuple[str, Sequence[Any]]], outputs: Mapping[str, Sequence[Any]]
    ) -> onnx.ModelProto:
        """Return the model; ``inputs`` are types and shapes, of which those that no node takes are left out."""
        taken = {one for node in _all_nodes(self._nodes) for one in node.input}
        there = [
            helper.make_tensor_value_info(one, _TYPES[kind], shape)
            for one, (kind, shape) in inputs.items()
            if one in taken
        ]
        given = [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one, shape in outputs.items()]
        own = any(node.domain == MICROSOFT for node in _all_nodes(self._nodes))
        domains = [helper.make_opsetid("", self._opset)] + ([helper.make_opsetid(MICROSOFT, 1)] if own else [])
        graph = helper.make_graph(self._nodes, name, there, given, list(self._constants.values()))
        return helper.make_model(graph, opset_imports=domains, ir_version=_IR, producer_name="bertwright")

    def body(self, outputs: Sequence[str]) -> onnx.GraphProto:
        """Return what a node of another graph holds, such as a branch of ``If``: it reads that graph's tensors."""
        given = [helper.make_tensor_value_info(one, TensorProto.FLOAT, None) for one in outputs]
        return helper.make_graph(self._nodes, self._prefix, [], given, list(self._constants.values()))

    def _next(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}{kind}_{self._count}"


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Give nodes and those that they hold."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _all_nodes(attribute.g.node)


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Give a graph's constants and those of the graphs that its nodes hold."""
    yield from graph.initializer
    for node in _all_nodes(graph.node):
        for attribute in node.attribute:
            yield from attribute.g.initializer


def write(model: onnx.ModelProto, path: Path, stored: Stored) -> tuple[Path, ...]:
    """Write a model with its large tensors in a file beside it, and return what was written.

    Those that ``stored`` has are taken from the file that holds them already, and it learns of the others. ONNX Runtime
    maps such files, so that processes on one machine share their pages.
    """
    data, fresh = path.with_suffix(".weights"), {}
    for tensor in _constants(model.graph):
        if len(tensor.raw_data) < _OUTSIDE:
            continue
        digest = xxhash.xxh3_128(tensor.raw_data).digest()
        if digest in stored:
            location, offset, length = stored[digest]
            set_external_data(tensor, location, offset=offset, length=length)
            tensor.ClearField("raw_data")
        else:
            fresh[digest] = tensor

    def save(place: Path) -> None:
        onnx.save_model(
            model,
            str(place),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=data.name,
            size_threshold=_OUTSIDE,
        )

    door.hand_over(path, save)
    for digest, tensor in fresh.items():
        place = {entry.key: entry.value for entry in tensor.external_data}
        stored[digest] = (data.name, int(place["offset"]), int(place["length"]))
    if not data.exists():
        return (path,)
    # The library leaves it to its owner alone.
    door.permit(data, path.stat().st_mode)
    return (path, data)


def write_whole(model: onnx.ModelProto, path: Path) -> None:
    """Write a model as one file."""
    door.hand_over(path, lambda place: onnx.save_model(model, str(place)))

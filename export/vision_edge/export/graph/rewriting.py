"""A thin view of an ONNX graph for looking around in it and rewriting it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Rewriting:
    """A graph under change; `finish` puts the nodes back, without those that nothing reads.

    Args:
        model: The model; it is changed in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self.index()

    def index(self) -> None:
        """Look anew at who makes and who reads each tensor."""
        self._makers = {value: node for node in self.nodes for value in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for value in node.input:
                self._readers[value].append(node)

    def maker(self, value: str, kind: str | None = None) -> onnx.NodeProto | None:
        """Return the node that makes a tensor, if there is one and it is of that kind."""
        node = self._makers.get(value)
        return node if node is not None and kind in (None, node.op_type) else None

    def reader(self, value: str, kind: str) -> onnx.NodeProto | None:
        """Return the only node that reads a tensor, if there is one and it is of that kind."""
        readers = self._readers.get(value, [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    def of_kind(self, kind: str) -> list[onnx.NodeProto]:
        """Return all nodes of a kind."""
        return [node for node in self.nodes if node.op_type == kind]

    def constant(self, value: str) -> NDArray[Any] | None:
        """Return a weight or constant, if that is what the tensor is."""
        weight = self._weights.get(value)
        return None if weight is None else numpy_helper.to_array(weight)

    def add_constant(self, name: str, array: NDArray[Any] | Sequence[int]) -> str:
        """Add a constant, int64 where none is given as an array, and return its name."""
        values = array if isinstance(array, np.ndarray) else np.array(array, np.int64)
        if name not in self._weights:
            self.model.graph.initializer.append(numpy_helper.from_array(values, name))
            self._weights[name] = self.model.graph.initializer[-1]
        return name

    def insert(self, before: onnx.NodeProto, nodes: Iterable[onnx.NodeProto]) -> None:
        """Put nodes in front of one."""
        at = next(index for index, node in enumerate(self.nodes) if node is before)
        self.nodes[at:at] = nodes
        self.index()

    def replace(self, old: onnx.NodeProto, nodes: Iterable[onnx.NodeProto]) -> None:
        """Put nodes in the place of one."""
        self.insert(old, nodes)
        self.nodes = [node for node in self.nodes if node is not old]
        self.index()

    def finish(self) -> bytes:
        """Drop what nothing reads, and return the serialised model, checked.

        Raises:
            onnx.checker.ValidationError: If the graph is not valid.
        """
        graph = self.model.graph
        kept = self._needed()
        names = {value for node in kept for value in node.input}
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)
        weights = [weight for weight in graph.initializer if weight.name in names]
        copied = [onnx.TensorProto.FromString(weight.SerializeToString()) for weight in weights]
        del graph.initializer[:]
        graph.initializer.extend(copied)
        del graph.value_info[:]  # shapes may have changed; every reader infers them
        onnx.checker.check_model(self.model)
        data: bytes = self.model.SerializeToString(deterministic=True)
        return data

    def _needed(self) -> list[onnx.NodeProto]:
        wanted = {output.name for output in self.model.graph.output}
        kept = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
        return kept[::-1]


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of a node's attribute."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default

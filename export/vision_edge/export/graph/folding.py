"""Computing what of a graph depends on nothing but its shapes, once these are numbers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

_LARGEST = 1 << 22
"""Values that a folded tensor may have: what is larger would only swell the file."""


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without the nodes whose inputs are all known.

    Args:
        model: With inferred shapes; a `Shape` of a tensor of known shape is known.
    """
    graph = model.graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }
    known = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    kept = []
    for node in graph.node:
        values = _computed(node, known, shapes, model)
        if values is None:
            kept.append(node)
            continue
        for name, value in zip(node.output, values, strict=True):
            known[name] = value
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)
    return model


def _computed(
    node: onnx.NodeProto,
    known: dict[str, np.ndarray],
    shapes: dict[str, list[int]],
    model: onnx.ModelProto,
) -> list[np.ndarray] | None:
    """Return a node's outputs, if they can be known and are small."""
    if node.op_type == "Shape":
        shape = shapes.get(node.input[0])
        return None if not shape or 0 in shape else [np.array(shape, np.int64)]
    given = [name for name in node.input if name]
    if any(name not in known for name in given):
        return None
    inputs = [helper.make_tensor_value_info(n, _kind(known[n]), known[n].shape) for n in given]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    alone = helper.make_model(
        helper.make_graph([node], "alone", inputs, outputs), opset_imports=model.opset_import
    )
    made = ReferenceEvaluator(alone).run(None, {name: known[name] for name in given})
    values = [np.asarray(value) for value in made]
    return None if any(value.size > _LARGEST for value in values) else values


def _kind(array: np.ndarray) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))

"""What depends on shapes alone is computed once; what depends on pictures stays."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from vision_edge.export.graph.cpu_session import cpu_session
from vision_edge.export.graph.folding import folded


def model_of(batch: int | str) -> onnx.ModelProto:
    """Return x + a token that is expanded to the batch's shape, spelt as PyTorch spells it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["count"]),
        helper.make_node("Concat", ["count", "sides"], ["wanted"], axis=0),
        helper.make_node("Expand", ["token", "wanted"], ["tokens"]),
        helper.make_node("Add", ["x", "tokens"], ["y"]),
    ]
    token = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    weights = [
        numpy_helper.from_array(token, "token"),
        numpy_helper.from_array(np.array([0]), "first"),
        numpy_helper.from_array(np.array([3, 4]), "sides"),
    ]
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, [batch, 3, 4])],
        [helper.make_tensor_value_info("y", kind, [batch, 3, 4])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return shape_inference.infer_shapes(made)


def test_a_fixed_batch_leaves_only_what_depends_on_pictures() -> None:
    plain, after = model_of(2), folded(model_of(2))
    assert [node.op_type for node in after.graph.node] == ["Add"]
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    expected, got = (cpu_session(m).run(None, {"x": x})[0] for m in (plain, after))
    assert np.array_equal(expected, got)


def test_a_free_batch_stays_as_it_is() -> None:
    kinds = [node.op_type for node in folded(model_of("n")).graph.node]
    assert kinds == ["Shape", "Gather", "Concat", "Expand", "Add"]

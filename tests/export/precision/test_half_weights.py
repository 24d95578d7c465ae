"""Half-precision storage: half the bytes, float32 arithmetic, nearly the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vision_edge.export.precision.half_weights import with_half_weights
from vision_edge.runtime.errors import ExportError


def linear_model(weight: np.ndarray) -> bytes:
    """y = x W + 1, x float32 (N, in)."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        [
            numpy_helper.from_array(weight.astype(np.float32), "w"),
            numpy_helper.from_array(np.ones(columns, np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def run(data: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": x})
    return np.asarray(result)


def test_the_model_is_half_as_large_and_computes_in_float32() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(64, 48))
    data, x = linear_model(weight), rng.normal(size=(5, 64)).astype(np.float32)
    compact = with_half_weights(data)
    assert len(compact) < 0.56 * len(data)
    exact = x @ weight.astype(np.float16).astype(np.float32) + 1
    np.testing.assert_allclose(run(compact, x), exact, rtol=1e-5, atol=1e-5)
    assert not np.allclose(run(compact, x), run(data, x), rtol=1e-6, atol=1e-6)


def test_small_and_other_tensors_stay_as_they_are() -> None:
    compact = onnx.load_model_from_string(with_half_weights(linear_model(np.ones((64, 48)))))
    kinds = {i.name: i.data_type for i in compact.graph.initializer}
    assert kinds == {"w_float16": TensorProto.FLOAT16, "b": TensorProto.FLOAT}


def test_a_weight_beyond_float16_is_refused() -> None:
    weight = np.ones((64, 48))
    weight[3, 4] = 1e6
    with pytest.raises(ExportError, match="'w' reaches 1e"):
        with_half_weights(linear_model(weight))

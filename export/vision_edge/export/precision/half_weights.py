"""Weights stored in float16, arithmetic in float32: half the file, the same speed.

Each large float32 initialiser becomes a float16 one with a Cast behind it, which the runtime folds
away when it loads the model. Rounding changes the weights a little, so the parity gate decides.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vision_edge.runtime.errors import ExportError

_MIN_VALUES = 1024
_SUFFIX = "_float16"


def with_half_weights(data: bytes) -> bytes:
    """Return an ONNX model whose large float32 weights are stored in float16.

    Args:
        data: A serialised model.

    Raises:
        ExportError: If a weight is too large for float16.
    """
    model = onnx.load_model_from_string(data)
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < _MIN_VALUES:
            continue
        with np.errstate(over="ignore"):  # overflow is looked for in the next line
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ExportError(
                f"weight {weight.name!r} reaches {np.abs(values).max():.3g}, too large for float16",
                fix="export without --half-weights",
            )
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, name + _SUFFIX))
        casts.append(
            helper.make_node("Cast", [name + _SUFFIX], [name], f"{name}_cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    compacted: bytes = model.SerializeToString(deterministic=True)
    return compacted

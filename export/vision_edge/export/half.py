"""float16: half the file, and the tensor cores of a GPU.

LayerNorm and Softmax stay in float32: their sums overflow or lose what matters in float16
(NVIDIA/TensorRT#2709 and #4493).
"""

from __future__ import annotations

import warnings

import onnx

from vision_edge.export.precise import Precise
from vision_edge.runtime.errors import require

WIDE = ("LayerNormalization", "Softmax")


def to_half(model: bytes) -> Precise:
    """Rewrite a float32 model in float16.

    Args:
        model: A bundle's float32 ONNX model.

    Returns:
        The same graph with float16 weights and arithmetic; input and output keep their types.

    Raises:
        ExportError: If a weight is too large for float16.
    """
    float16 = require("onnxruntime.transformers.float16")
    graph = onnx.load_model_from_string(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values below float16's least are rounded to it
        half = float16.convert_float_to_float16(graph, keep_io_types=True, op_block_list=list(WIDE))
    kept = tuple(node.name for node in half.graph.node if node.op_type in WIDE)
    return Precise(half.SerializeToString(deterministic=True), "fp16", kept, ())

"""Trying a graph on the CPU while it is being rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from vision_edge.runtime.errors import require


def cpu_session(model: onnx.ModelProto | bytes) -> Any:
    """Return an ONNX Runtime session on the CPU that keeps its warnings to itself."""
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy that also returns some of its inner tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {output.name for output in copy.graph.output}
    for name in dict.fromkeys(names):
        if name not in present:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy

"""What the tests of precisions share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from vision_edge.export.graph.layers import layers_of
from vision_edge.runtime.arrays import Embeddings, Image


def embed(model: bytes, images: Image, *, optimised: bool = True) -> Embeddings:
    """Run a model on one thread; without optimisations each node runs as it is written."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    embeddings: Embeddings = session.run(None, {"images": images})[0]
    return embeddings


def least_cosine(left: Embeddings, right: Embeddings) -> float:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / lengths).min())


def graph_of(model: bytes) -> onnx.GraphProto:
    return onnx.load_model_from_string(model).graph


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in graph_of(model).node]


def with_weights(model: bytes, changes: dict[str, np.ndarray]) -> bytes:
    """Return the model with other values for some of its weights."""
    changed = onnx.load_model_from_string(model)
    for weight in changed.graph.initializer:
        if weight.name in changes:
            weight.CopyFrom(numpy_helper.from_array(changes[weight.name], weight.name))
    return bytes(changed.SerializeToString())


def weights_of(model: bytes) -> dict[str, np.ndarray]:
    return {weight.name: numpy_helper.to_array(weight) for weight in graph_of(model).initializer}


def weight_names(model: bytes) -> dict[str, str]:
    """Return, by layer, the name of its weight."""
    graph = graph_of(model)
    weights = {node.name: node.input[1] for node in graph.node if len(node.input) > 1}
    return {layer.name: weights[layer.nodes[0]] for layer in layers_of(graph)}


def tensorrt_refusals(model: bytes) -> Iterable[str]:
    """Return what TensorRT's parser has against a model, strongly typed; skip without TensorRT."""
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = trt.Builder(logger).create_network(0 if flags is None else 1 << int(flags))
    parser = trt.OnnxParser(network, logger)
    parser.parse(model)
    return [str(parser.get_error(index)) for index in range(parser.num_errors)]

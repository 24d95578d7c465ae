"""Which layer of a model in a narrower type does the harm.

Each layer is judged alone: it is computed in its narrower type on the float32 model's own input,
and what comes out differently is added to that layer's output in the float32 model. How far the
embedding then turns is the layer's harm; errors that other layers make do not enter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from vision_edge.export.graph.cpu_session import cpu_session, with_outputs
from vision_edge.export.graph.layers import Layer, layers_of
from vision_edge.export.graph.tidy import tidy
from vision_edge.export.precision.rewritten import Precise
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ExportError

MAX_IMAGES = 8
_FED, _DELTA, _PLAIN = "__fed", "__delta", "__plain"
_ELEMENT_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(uint8)": TensorProto.UINT8,
}
Tensors = dict[str, NDArray[np.float32]]


def worst_layer(float_model: bytes, precise: Precise, images: Image) -> str:
    """Return the name of the layer that does most harm, such as `blocks.3.mlp.fc2`.

    Args:
        float_model: The float32 model that `precise` was made from.
        precise: The model to explain.
        images: uint8 (N, S, S, 3) BGR, prepared; the first few are used.

    Raises:
        ExportError: If no layer of the two can be compared.
    """
    harms = layer_harms(float_model, precise, images)
    return max(harms, key=lambda name: harms[name])


def layer_harms(
    float_model: bytes, precise: Precise, images: Image, layers: Sequence[Layer] | None = None
) -> dict[str, float]:
    """Return each layer's harm: the largest `1 - cosine` that it alone causes, 0 to 2.

    Args and errors are those of `worst_layer`; `layers` are those to try, by default all.
    """
    images = images[:MAX_IMAGES]
    graph = onnx.load_model_from_string(tidy(float_model))
    other = onnx.load_model_from_string(precise.model)
    layers = _in_both(layers or layers_of(graph.graph), other.graph)
    if not layers:
        raise ExportError("the two models have no layer in common", fix="export the model again")
    names = [value for layer in layers for value in (layer.source, layer.result)]
    expected = _run(with_outputs(graph, names), {"images": images})
    fed = {layer.source + _FED: expected[layer.source] for layer in layers}
    results = _run(_cut_at_sources(other, layers), {"images": images, **fed})
    return _turned(graph, layers, expected, results, images)


def _turned(
    graph: onnx.ModelProto, layers: list[Layer], expected: Tensors, results: Tensors, images: Image
) -> dict[str, float]:
    """Add each layer's error to the float32 model, one layer at a time."""
    session = cpu_session(_with_deltas(graph, layers))
    nothing = {layer.result + _DELTA: np.zeros(1, np.float32) for layer in layers}
    right = _unit(expected["embeddings"])
    harms = {}
    for layer in layers:
        delta = results[layer.result].astype(np.float32) - expected[layer.result]
        feed = {"images": images, **nothing, layer.result + _DELTA: delta}
        turned = _unit(session.run(["embeddings"], feed)[0])
        harms[layer.name] = float((1 - (right * turned).sum(axis=1)).max())
    return {name: harm if np.isfinite(harm) else 2.0 for name, harm in harms.items()}


def _types(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, int]:
    """Return element types as ONNX Runtime finds them; a converter's own notes may be stale."""
    outputs = cpu_session(with_outputs(model, names)).get_outputs()
    return {output.name: _ELEMENT_TYPES[output.type] for output in outputs}


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1), 1e-12)[:, None]
    return unit


def _in_both(layers: Sequence[Layer], graph: onnx.GraphProto) -> list[Layer]:
    """Return the layers whose source and result are in the other graph too."""
    there = {value for node in graph.node for value in (*node.input, *node.output)}
    return [layer for layer in layers if layer.source in there and layer.result in there]


def _run(model: onnx.ModelProto, feed: dict[str, NDArray[np.generic]]) -> Tensors:
    session = cpu_session(model)
    names = [output.name for output in model.graph.output]
    return dict(zip(names, session.run(names, feed), strict=True))


def _cut_at_sources(model: onnx.ModelProto, layers: list[Layer]) -> onnx.ModelProto:
    """Return a copy where every layer reads what it is fed, and returns what it makes of it."""
    copy = with_outputs(model, [layer.result for layer in layers])
    types = _types(model, [layer.source for layer in layers])
    casts = []
    renamed = {}
    for source in dict.fromkeys(layer.source for layer in layers):
        fed, cast = source + _FED, source + _FED + "_cast"
        kind = types[source]
        copy.graph.input.append(helper.make_tensor_value_info(fed, TensorProto.FLOAT, None))
        casts.append(helper.make_node("Cast", [fed], [cast], to=kind))
        renamed[source] = cast
    nodes = list(copy.graph.node)
    for node in nodes:
        for index, value in enumerate(node.input):
            node.input[index] = renamed.get(value, value)
    del copy.graph.node[:]
    copy.graph.node.extend([*casts, *nodes])
    return copy


def _with_deltas(model: onnx.ModelProto, layers: list[Layer]) -> onnx.ModelProto:
    """Return a copy with an input for each layer that is added to what the layer makes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    results = {layer.result for layer in layers}
    nodes = []
    for node in copy.graph.node:
        nodes.append(node)
        for index, value in enumerate(node.output):
            if value in results:
                node.output[index] = value + _PLAIN
                nodes.append(helper.make_node("Add", [value + _PLAIN, value + _DELTA], [value]))
    for result in sorted(results):
        copy.graph.input.append(
            helper.make_tensor_value_info(result + _DELTA, TensorProto.FLOAT, None)
        )
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy

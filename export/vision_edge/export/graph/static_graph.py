"""A bundle's graph as NPU compilers take it: float input, one fixed batch, q, k and v apart.

Converters for boards know convolutions, matrix products and elementwise operators of fixed shapes,
and stumble over the rest: uint8 inputs, symbolic batches, Shape and Expand, and one wide product
that is split into queries, keys and values afterwards.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from vision_edge.export.graph.folding import folded
from vision_edge.export.graph.rewriting import Rewriting, attribute
from vision_edge.export.graph.tidy import tidy
from vision_edge.runtime.errors import ExportError

INPUT, OUTPUT = "images", "embeddings"
PLAIN = frozenset(
    {"Add", "Concat", "Conv", "Div", "Erf", "Gather", "LayerNormalization", "MatMul", "Mul", "Neg"}
    | {"Pow", "Reciprocal", "ReduceMean", "Reshape", "Sigmoid", "Slice", "Softmax", "Split"}
    | {"Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"}
)
"""Operators that may be left."""


def to_static(model: bytes, size: int, batch: int = 1) -> bytes:
    """Rewrite a bundle's float32 model for compilers that want everything fixed.

    Args:
        model: A bundle's ONNX model, of one output and without pruning.
        size: S, the side of its input.
        batch: N, images in each run.

    Returns:
        The same function of `images` float32 (N, 3, S, S), BGR, 0 to 255, with `embeddings`
        float32 (N, D); every shape is a number.

    Raises:
        ExportError: If an operator is left that such compilers do not take.
    """
    graph = Rewriting(onnx.load_model_from_string(tidy(_widened(model))))
    for split in graph.of_kind("Split"):
        _apart(graph, split)
    _float_input(graph, size, batch)
    _fixed_class_token(graph, batch)
    fixed = _inferred(folded(_inferred(onnx.load_model_from_string(graph.finish()))))
    fixed = _inferred(_means_as_products(fixed))
    _fix_reshapes(fixed)
    _check(fixed)
    data: bytes = fixed.SerializeToString(deterministic=True)
    return data


def _widened(model: bytes) -> bytes:
    """Return a model whose weights are float32 where they were stored in float16."""
    graph = Rewriting(onnx.load_model_from_string(model))
    for cast in graph.of_kind("Cast"):
        values = graph.constant(cast.input[0])
        if values is not None and values.dtype == np.float16:
            graph.add_constant(cast.output[0], values.astype(np.float32))
            graph.nodes.remove(cast)
    graph.index()
    return graph.finish()


def _apart(graph: Rewriting, split: onnx.NodeProto) -> None:
    """Give queries, keys and values a product of their own each, if one wide one makes them."""
    bias = graph.maker(split.input[0], "Add")
    product = graph.maker(bias.input[0], "MatMul") if bias is not None else None
    if product is None:
        bias, product = None, graph.maker(split.input[0], "MatMul")
    weight = graph.constant(product.input[1]) if product is not None else None
    if product is None or weight is None or len(split.output) != 3:
        return
    added = graph.constant(bias.input[1]) if bias is not None else None
    nodes = []
    for number, name in enumerate(split.output):
        columns = np.split(weight, 3, axis=1)[number]
        value = f"{name}_product" if added is not None else name
        own = graph.add_constant(f"{name}_weight", np.ascontiguousarray(columns))
        nodes.append(helper.make_node("MatMul", [product.input[0], own], [value], f"{name}_matmul"))
        if added is not None:
            part = graph.add_constant(f"{name}_bias", np.split(added, 3)[number])
            nodes.append(helper.make_node("Add", [value, part], [name], f"{name}_add"))
    graph.replace(split, nodes)


def _float_input(graph: Rewriting, size: int, batch: int) -> None:
    """Take float pixels as the first convolution wants them, without cast and transpose."""
    cast = next((node for node in graph.of_kind("Cast") if node.input[0] == INPUT), None)
    swap = graph.reader(cast.output[0], "Transpose") if cast is not None else None
    if swap is None or list(attribute(swap, "perm")) != [0, 3, 1, 2]:
        raise ExportError(
            "the graph does not begin as a bundle's does (cast, then transpose)",
            fix="export the bundle again with this version of vision-edge",
        )
    for node in graph.nodes:
        node.input[:] = [INPUT if value == swap.output[0] else value for value in node.input]
    outputs = graph.model.graph.output
    dim = outputs[0].type.tensor_type.shape.dim[1].dim_value
    del graph.model.graph.input[:], outputs[:]
    graph.model.graph.input.append(
        helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, 3, size, size])
    )
    outputs.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, dim]))
    graph.index()


def _fixed_class_token(graph: Rewriting, batch: int) -> None:
    """Write tokens that are expanded to the batch as constants of that batch."""
    for node in graph.of_kind("Expand"):
        values = graph.constant(node.input[0])
        if values is not None and values.ndim == 3:
            graph.add_constant(node.output[0], np.repeat(values, batch, axis=0))
            graph.nodes.remove(node)
    graph.index()


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.value_info[:]
    return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def _means_as_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write the mean over tokens as a product of matrices: pnnx reads ReduceMean otherwise."""
    shapes = _shapes(model)
    graph = Rewriting(model)
    for mean in graph.of_kind("ReduceMean"):
        axes = graph.constant(mean.input[1]) if len(mean.input) > 1 else None
        shape = shapes.get(mean.input[0], [])
        if axes is None or list(axes) != [1] or len(shape) != 3:
            continue
        row = np.full((shape[0], 1, shape[1]), 1.0 / shape[1], np.float32)
        rows = graph.add_constant(f"{mean.output[0]}_row", row)
        keeps = bool(attribute(mean, "keepdims", 1))
        product = mean.output[0] if keeps else f"{mean.output[0]}_kept"
        nodes = [helper.make_node("MatMul", [rows, mean.input[0]], [product], f"{product}_mean")]
        if not keeps:
            axis = graph.add_constant("token_axis", [1])
            nodes.append(helper.make_node("Squeeze", [product, axis], [mean.output[0]]))
        graph.replace(mean, nodes)
    return onnx.load_model_from_string(graph.finish())


def _fix_reshapes(model: onnx.ModelProto) -> None:
    """Give each Reshape the numbers that it comes to."""
    shapes = _shapes(model)
    for node in model.graph.node:
        if node.op_type == "Reshape" and all(side > 0 for side in shapes[node.output[0]]):
            name = f"{node.output[0]}_shape"
            numbers = np.array(shapes[node.output[0]], np.int64)
            model.graph.initializer.append(numpy_helper.from_array(numbers, name))
            node.input[1] = name
    used = {value for node in model.graph.node for value in node.input}
    kept = [weight for weight in model.graph.initializer if weight.name in used]
    copies = [onnx.TensorProto.FromString(weight.SerializeToString()) for weight in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend(copies)


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Return every inferred shape; a side that is no number is 0."""
    return {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }


def _check(model: onnx.ModelProto) -> None:
    """Refuse a graph with operators or shapes that such compilers do not take.

    Raises:
        ExportError: If there are any.
    """
    strange = sorted({node.op_type for node in model.graph.node} - PLAIN)
    if strange:
        raise ExportError(
            f"the graph has {', '.join(strange)}, which compilers for NPUs do not take",
            fix="export in fp32, without --prune, --patches and --fused-attention",
        )
    free = [name for name, shape in _shapes(model).items() if 0 in shape]
    if free:
        raise ExportError(
            f"{len(free)} tensors have no fixed shape ({free[0]})",
            fix="export the bundle again with this version of vision-edge",
        )
    onnx.checker.check_model(model)

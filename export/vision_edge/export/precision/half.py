"""float16: half the file, and the tensor cores of a GPU.

LayerNorm, Softmax, sums over many values and the residual stream stay in float32; what goes through
weights is float16. A vision transformer's residual stream reaches hundreds in a few channels
(574 in a ViT-Tiny): its squares overflow float16 in some LayerNorms (NVIDIA/TensorRT#2709 and
#4493, microsoft/onnxruntime#17692 and #29034), and its small values drown beside the large ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper

from vision_edge.export.graph.attention import MICROSOFT
from vision_edge.export.graph.rewriting import Rewriting, attribute
from vision_edge.export.graph.tidy import tidy
from vision_edge.export.precision.rewritten import Precise
from vision_edge.runtime.errors import ExportError

WIDE = frozenset({"LayerNormalization", "Softmax", "ReduceSum", "ReduceMean", "TopK"})
"""Operators that compute in float32."""
MOVING = frozenset(
    {"Concat", "Expand", "Gather", "GatherElements", "Identity", "Reshape", "Slice", "Split"}
    | {"Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that only move values: they take the type that comes to them."""
_HALF, _FLOAT = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)
_SUFFIX = {_HALF: "_float16", _FLOAT: "_float32"}
_LARGEST = float(np.finfo(np.float16).max)


def to_half(model: bytes, *, wide: Collection[str] = WIDE, residual: bool = True) -> Precise:
    """Rewrite a float32 model in float16.

    Args:
        model: A bundle's float32 ONNX model, or what `fuse_attention` made of it.
        wide: Operators that take and give float32.
        residual: Keep the residual stream in float32. With this off and `wide` empty only two
            casts are left; LayerNorm and Softmax then take and give float16, and it is up to the
            runtime to compute them in float32, as ONNX asks of LayerNorm.

    Returns:
        The same function with float16 weights and arithmetic; input and output keep their types.

    Raises:
        ExportError: If a weight is too large for float16.
    """
    graph = Rewriting(onnx.load_model_from_string(tidy(model)))
    kinds = _kinds(graph, wide, residual)
    casts = _Casts(graph, kinds)
    nodes = [node for old in graph.nodes for node in (*casts.before(old), old)]
    graph.nodes = [*nodes, *casts.at_outputs()]
    kept = tuple(node.name for node in graph.nodes if node.op_type in wide)
    notes = ("the residual stream is float32",) if residual else ()
    return Precise(graph.finish(), "fp16", kept, notes)


def _kinds(graph: Rewriting, wide: Collection[str], residual: bool) -> dict[str, int]:
    """Decide, for each floating-point tensor that is computed, in which type it is."""
    floats = _float_tensors(graph)
    kinds: dict[str, int] = {}
    for node in graph.nodes:
        computed = [kinds[value] for value in node.input if value in kinds]
        if node.op_type in wide or (residual and _is_residual(node, kinds)):
            kind = _FLOAT
        elif node.op_type in MOVING and computed:
            kind = max(computed, key=lambda each: each == _FLOAT)
        else:
            kind = _HALF
        kinds.update({value: kind for value in node.output if value in floats})
    return kinds


def _is_residual(node: onnx.NodeProto, kinds: dict[str, int]) -> bool:
    """Whether it adds two computed tensors."""
    return node.op_type == "Add" and all(value in kinds for value in node.input)


def _float_tensors(graph: Rewriting) -> set[str]:
    """Return the names of the tensors that are float32 in the float32 model."""
    inferred = onnx.shape_inference.infer_shapes(graph.model).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.output, *inferred.input)
    }
    for node in graph.nodes:
        if node.domain == MICROSOFT:  # unknown to ONNX: as what comes in
            types.update({value: types.get(node.input[0], _FLOAT) for value in node.output})
        if node.op_type in MOVING or node.op_type in ("MatMul", "Add", "Mul", "Div", "Erf"):
            for value in node.output:
                types.setdefault(value, types.get(node.input[0], _FLOAT))
    return {name for name, kind in types.items() if kind == _FLOAT}


class _Casts:
    """Gives every node its inputs in its own type; a tensor is cast once for all who read it."""

    def __init__(self, graph: Rewriting, kinds: dict[str, int]) -> None:
        self.graph, self.kinds = graph, kinds
        self.done: set[str] = set()

    def before(self, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """Change a node's inputs, and yield the casts that it needs."""
        kind = next((self.kinds[value] for value in node.output if value in self.kinds), None)
        if kind is None:
            return
        if node.op_type == "Cast":
            _set_target(node, kind)
            return
        for index, value in enumerate(node.input):
            weight = self.graph.constant(value)
            if value in self.kinds and self.kinds[value] != kind:
                node.input[index] = value + _SUFFIX[kind]
                yield from self._cast(value, kind)
            elif weight is not None and weight.dtype == np.float32 and kind == _HALF:
                node.input[index] = self.graph.add_constant(
                    value + _SUFFIX[kind], _halved(value, weight)
                )

    def at_outputs(self) -> Iterable[onnx.NodeProto]:
        """Yield the casts that the model's float32 outputs need; the nodes are renamed."""
        for output in self.graph.model.graph.output:
            if self.kinds[output.name] == _HALF:
                narrow = output.name + _SUFFIX[_HALF]
                for node in self.graph.nodes:
                    node.input[:] = [narrow if v == output.name else v for v in node.input]
                    node.output[:] = [narrow if v == output.name else v for v in node.output]
                yield helper.make_node("Cast", [narrow], [output.name], "output_cast", to=_FLOAT)

    def _cast(self, value: str, kind: int) -> Iterable[onnx.NodeProto]:
        result = value + _SUFFIX[kind]
        if result not in self.done:
            self.done.add(result)
            yield helper.make_node("Cast", [value], [result], f"{result}_cast", to=kind)


def _set_target(node: onnx.NodeProto, kind: int) -> None:
    if attribute(node, "to") == _FLOAT:
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("to", kind))


def _halved(name: str, weight: np.ndarray) -> np.ndarray:
    largest = float(np.abs(weight).max(initial=0.0))
    if not largest <= _LARGEST:
        raise ExportError(
            f"weight {name!r} reaches {largest:.3g}, too large for float16",
            fix="export in fp32",
        )
    return np.asarray(weight.astype(np.float16))

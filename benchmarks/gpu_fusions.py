"""A vision transformer in ONNX Runtime's own operators: no bias is added in a pass of its own.

For `gpu_candidates.py`, to be timed on a GPU: ONNX Runtime makes these itself of a graph of one
type, but not of ours, whose LayerNorms and residual stream are float32 between float16 products.

* `Attention` multiplies with the packed weights itself and adds their bias while it splits heads.
* `BiasGelu` adds the first bias of the MLP.
* `SkipLayerNormalization` adds bias and residual on the way into the norm, and gives the sum too.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from vision_edge.export.graph.attention import MICROSOFT, find_attentions
from vision_edge.export.graph.rewriting import Rewriting

Node = onnx.NodeProto


def in_contrib_operators(model: bytes, *, norms: bool = True) -> bytes:
    """Rewrite a float32 graph as PyTorch's exporter writes it, before `tidy`.

    Args:
        model: A bundle's float32 ONNX model whose attention is spelt out.
        norms: Fuse residual additions and LayerNorms as well.

    Returns:
        The same function; it runs in ONNX Runtime only.
    """
    graph = Rewriting(onnx.load_model_from_string(model))
    for attention in find_attentions(graph):
        _attention(graph, attention)
    for erf in graph.of_kind("Erf"):
        _bias_gelu(graph, erf)
    for norm in graph.of_kind("LayerNormalization") if norms else []:
        _skip_norm(graph, norm)
    if all(entry.domain != MICROSOFT for entry in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return graph.finish()


def fusions(model: bytes) -> dict[str, int]:
    """Return how often each fused operator stands in a graph, to see what was found."""
    kinds = [n.op_type for n in onnx.load_model_from_string(model).graph.node]
    wanted = ("Attention", "MultiHeadAttention", "BiasGelu", "SkipLayerNormalization", "Add")
    return {kind: kinds.count(kind) for kind in wanted}


def _biased(graph: Rewriting, value: str) -> tuple[Node, str, str] | None:
    """Return the product behind a value, its weight, and the bias that is added to it."""
    added = graph.maker(value, "Add")
    if added is None:
        return None
    for side in (0, 1):
        product = graph.maker(added.input[side], "MatMul")
        bias = graph.constant(added.input[1 - side])
        if product is not None and bias is not None and bias.ndim == 1:
            return product, product.input[1], added.input[1 - side]
    return None


def _attention(graph: Rewriting, attention: object) -> None:
    found = _biased(graph, attention.qkv)  # type: ignore[attr-defined]
    if found is None:
        return
    product, weight, bias = found
    last: Node = attention.last  # type: ignore[attr-defined]
    fused = helper.make_node(
        "Attention",
        [product.input[0], weight, bias],
        [last.output[0]],
        f"{last.output[0]}_attention",
        domain=MICROSOFT,
        num_heads=attention.heads,  # type: ignore[attr-defined]
        scale=attention.scale,  # type: ignore[attr-defined]
    )
    graph.replace(last, [fused])


def _bias_gelu(graph: Rewriting, erf: Node) -> None:
    """Turn (x + bias) * 0.5 * (1 + erf((x + bias) / sqrt 2)), in whatever order, into one node."""
    scaled = graph.maker(erf.input[0])
    if scaled is None or scaled.op_type not in ("Div", "Mul"):
        return
    value = scaled.input[0]
    found = _biased(graph, value)
    end = _end_of_gelu(graph, erf, value)
    if found is None or end is None:
        return
    product, _, bias = found
    fused = helper.make_node(
        "BiasGelu", [product.output[0], bias], [end.output[0]], f"{end.output[0]}_gelu",
        domain=MICROSOFT,
    )  # fmt: skip
    graph.replace(end, [fused])


def _end_of_gelu(graph: Rewriting, erf: Node, value: str) -> Node | None:
    """Walk from erf over 1 + and two multiplications, with 0.5 and the value in either order."""
    plus = graph.reader(erf.output[0], "Add")
    first = graph.reader(plus.output[0], "Mul") if plus is not None else None
    second = graph.reader(first.output[0], "Mul") if first is not None else None
    if first is None or second is None:
        return None
    factors = {*first.input, *second.input}
    halves = [constant for name in factors if (constant := graph.constant(name)) is not None]
    made = [graph.maker(name, "Mul") for name in factors]
    fits = value in factors or any(node is not None and value in node.input for node in made)
    only_half = len(halves) <= 1 and all(np.isclose(half, 0.5).all() for half in halves)
    return second if fits and only_half else None


def _skip_norm(graph: Rewriting, norm: Node) -> None:
    """Take the residual addition, and the bias before it, into a LayerNorm of the last axis."""
    added = graph.maker(norm.input[0], "Add")
    if added is None or any(graph.constant(value) is not None for value in added.input):
        return
    for side in (1, 0):
        found = _biased(graph, added.input[side])
        if found is None:
            continue
        product, _, bias = found
        inputs = [product.output[0], added.input[1 - side], *norm.input[1:3], bias]
        outputs = [norm.output[0], "", "", added.output[0]]
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        fused = helper.make_node(
            "SkipLayerNormalization", inputs, outputs, f"{norm.output[0]}_skip",
            domain=MICROSOFT, epsilon=epsilon,
        )  # fmt: skip
        graph.nodes = [node for node in graph.nodes if node is not added]
        graph.replace(norm, [fused])
        return

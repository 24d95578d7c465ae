"""Finding self-attention in an exported graph, and writing it shorter.

PyTorch's exporter spells `scaled_dot_product_attention` out in some twenty nodes a block, half of
them about shapes. Runtimes recognise few of them as attention, and each is a kernel on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from vision_edge.export.graph.rewriting import Rewriting

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Attention:
    """One self-attention, from the fused query, key and value to the heads put together again.

    Attributes:
        qkv: Tensor (N, T, 3 D) of queries, keys and values, each D = heads * width.
        heads: Number of heads.
        width: Values a head.
        scale: What the scores are multiplied with.
        last: The node that makes the result (N, T, D).
    """

    qkv: str
    heads: int
    width: int
    scale: float
    last: onnx.NodeProto


def find_attentions(graph: Rewriting) -> list[Attention]:
    """Return the self-attentions that are spelt as PyTorch's exporter spells them, in order."""
    found = [_around(graph, node) for node in graph.of_kind("Softmax")]
    return [attention for attention in found if attention is not None]


def _around(graph: Rewriting, softmax: onnx.NodeProto) -> Attention | None:
    """Recognise the attention around a softmax."""
    scores = graph.maker(softmax.input[0], "MatMul")
    product = graph.reader(softmax.output[0], "MatMul")
    if scores is None or product is None:
        return None
    swap = graph.reader(product.output[0], "Transpose")
    last = graph.reader(swap.output[0], "Reshape") if swap is not None else None
    query, by_query = _unscaled(graph, scores.input[0])
    _, by_key = _unscaled(graph, scores.input[1])
    split = _split_heads(graph, query)
    if last is None or split is None:
        return None
    shape = graph.constant(split.input[1])
    if shape is None or len(shape) != 5 or shape[2] != 3:
        return None
    return Attention(split.input[0], int(shape[3]), int(shape[4]), by_query * by_key, last)


def _unscaled(graph: Rewriting, value: str) -> tuple[str, float]:
    """Return the tensor before a multiplication with a constant, and that constant."""
    node = graph.maker(value, "Mul")
    factor = graph.constant(node.input[1]) if node is not None else None
    if node is None or factor is None or factor.size != 1:
        return value, 1.0
    return node.input[0], float(factor.reshape(()))


def _split_heads(graph: Rewriting, query: str) -> onnx.NodeProto | None:
    """Walk from the queries up to the reshape (N, T, 3 D) -> (N, T, 3, heads, width)."""
    value = query
    for kind in ("Squeeze", "Slice", "Transpose"):
        node = graph.maker(value, kind)
        if node is None:
            return None
        value = node.input[0]
    return graph.maker(value, "Reshape")


def write_plain(graph: Rewriting, attention: Attention, *, first_only: bool = False) -> None:
    """Write an attention in standard operators: twelve nodes, none about shapes.

    Args:
        graph: The graph.
        attention: What to write anew.
        first_only: Attend from the first token only: the result is (N, 1, D).
    """
    name = attention.last.output[0]
    scale = np.array(attention.scale, np.float32)
    nodes = [_split(name, attention)]
    apart = graph.add_constant("apart", [0, -1, attention.heads, attention.width])
    for part, order in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        source = f"{name}_{part}"
        if part == "q" and first_only:
            nodes.append(first_token(graph, source, f"{name}_q_first"))
            source = f"{name}_q_first"
        nodes += [
            helper.make_node("Reshape", [source, apart], [f"{source}_apart"]),
            helper.make_node("Transpose", [f"{source}_apart"], [f"{name}_{part}h"], perm=order),
        ]
    together = graph.add_constant("together", [0, -1, attention.heads * attention.width])
    nodes += [
        helper.make_node(
            "Mul", [f"{name}_qh", graph.add_constant(f"{name}_scale", scale)], [f"{name}_qs"]
        ),
        helper.make_node("MatMul", [f"{name}_qs", f"{name}_kh"], [f"{name}_scores"]),
        helper.make_node("Softmax", [f"{name}_scores"], [f"{name}_weights"], axis=-1),
        helper.make_node("MatMul", [f"{name}_weights", f"{name}_vh"], [f"{name}_heads"]),
        helper.make_node("Transpose", [f"{name}_heads"], [f"{name}_swapped"], perm=(0, 2, 1, 3)),
        helper.make_node("Reshape", [f"{name}_swapped", together], [name]),
    ]
    graph.replace(attention.last, _named(nodes))


def write_fused(graph: Rewriting, attention: Attention) -> None:
    """Write an attention as ONNX Runtime's own operator, which has fused kernels."""
    name = attention.last.output[0]
    fused = helper.make_node(
        "MultiHeadAttention",
        [f"{name}_q", f"{name}_k", f"{name}_v"],
        [name],
        domain=MICROSOFT,
        num_heads=attention.heads,
        scale=attention.scale,
    )
    graph.replace(attention.last, _named([_split(name, attention), fused]))


def first_token(graph: Rewriting, source: str, result: str) -> onnx.NodeProto:
    """Return a node that keeps the first token: (N, T, D) to (N, 1, D)."""
    bounds = [graph.add_constant(f"first_{end}", [end]) for end in (0, 1)]
    axis = graph.add_constant("first_axis", [1])
    return helper.make_node("Slice", [source, *bounds, axis], [result], name=f"{result}_node")


def _split(name: str, attention: Attention) -> onnx.NodeProto:
    parts = [f"{name}_{part}" for part in "qkv"]
    return helper.make_node("Split", [attention.qkv], parts, axis=-1, num_outputs=3)


def _named(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    for node in nodes:
        node.name = node.name or f"{node.output[0]}_node"
    return nodes

"""The layers of an exported graph, by the names that they have in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_PREFIX, _BIAS = "model.", ".bias"
BIG_LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
"""The four matrix products of a transformer block."""


@dataclass(frozen=True)
class Layer:
    """One layer with weights.

    Attributes:
        name: As in PyTorch, such as `blocks.0.attn.qkv`.
        nodes: Names of the nodes that compute it, in order.
        source: The tensor that goes in.
        result: The tensor that comes out, with its bias.
        bias: The bias.
    """

    name: str
    nodes: tuple[str, ...]
    source: str
    result: str
    bias: str

    @property
    def is_big_linear(self) -> bool:
        """Whether it is one of a block's four matrix products."""
        return self.name.startswith("blocks.") and self.name.endswith(BIG_LINEARS)


def layers_of(graph: onnx.GraphProto) -> list[Layer]:
    """Return the layers of a float32 graph, in order; a bias gives each its name."""
    makers = {output: node for node in graph.node for output in node.output}
    weights = {weight.name for weight in graph.initializer}
    found = []
    for node in graph.node:
        bias = next((value for value in node.input if _layer_name(value)), None)
        if bias is None:
            continue
        name = _layer_name(bias) or ""
        if node.op_type != "Add":  # a convolution or a normalisation has its bias inside
            found.append(Layer(name, (node.name,), node.input[0], node.output[0], bias))
            continue
        product = next((makers[value] for value in node.input if value in makers), None)
        if product is not None and product.op_type == "MatMul" and product.input[1] in weights:
            nodes = (product.name, node.name)
            found.append(Layer(name, nodes, product.input[0], node.output[0], bias))
    return found


def _layer_name(value: str) -> str | None:
    if value.startswith(_PREFIX) and value.endswith(_BIAS):
        return value[len(_PREFIX) : -len(_BIAS)]
    return None

"""The layers of an exported graph, by the names that they have in PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_PREFIX, _BIAS = "model.", ".bias"
BIG_LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
"""The four matrix products of a transformer block, in order."""
_NORMS = ("norm1", "norm2")


@dataclass(frozen=True)
class Layer:
    """One layer with weights.

    Attributes:
        name: As in PyTorch, such as `blocks.0.attn.qkv`.
        nodes: Names of the nodes that compute it, in order.
        source: The tensor that goes in.
        result: The tensor that comes out, with its bias.
        bias: The bias, where it has one; layers with equal biases may share it.
    """

    name: str
    nodes: tuple[str, ...]
    source: str
    result: str
    bias: str | None

    @property
    def is_big_linear(self) -> bool:
        """Whether it is one of a block's four matrix products."""
        return self.name.startswith("blocks.") and self.name.endswith(BIG_LINEARS)


def layers_of(graph: onnx.GraphProto) -> list[Layer]:
    """Return the layers of a float32 graph, in order.

    A layer has the name of its bias; where there is none, or layers with equal biases share one,
    its place says which of a plain vision transformer's layers it is.
    """
    names = _Names(graph)
    return [layer for node in graph.node if (layer := _layer(node, graph, names)) is not None]


def _layer(node: onnx.NodeProto, graph: onnx.GraphProto, names: _Names) -> Layer | None:
    if node.op_type in ("Conv", "LayerNormalization"):
        bias = node.input[2] if len(node.input) > 2 else None
        name = names.name(node, bias)
        return Layer(name, (node.name,), node.input[0], node.output[0], bias)
    if node.op_type != "MatMul" or node.input[1] not in names.weights:
        return None
    added = next((n for n in graph.node if node.output[0] in n.input), None)
    if added is not None and added.op_type == "Add":
        bias = next((value for value in added.input if value in names.weights), None)
        if bias is not None:
            nodes = (node.name, added.name)
            name = names.name(node, bias)
            return Layer(name, nodes, node.input[0], added.output[0], bias)
    name = names.name(node, None)
    return Layer(name, (node.name,), node.input[0], node.output[0], None)


class _Names:
    """Names layers, asked for one after the other in the order of the graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.weights = {weight.name for weight in graph.initializer}
        self._uses = Counter(value for node in graph.node for value in set(node.input))
        norms = sum(node.op_type == "LayerNormalization" for node in graph.node)
        self._places = _places(norms)
        self._products: Iterator[str] = iter(())
        self._taken = {own for weight in self.weights if (own := self._own(weight)) is not None}

    def name(self, node: onnx.NodeProto, bias: str | None) -> str:
        """Return a layer's name."""
        place = self._place(node)
        own = None if bias is None else self._own(bias)
        if own is not None:
            return own
        if place in self._taken:  # the model is laid out otherwise than a plain one
            return node.name
        self._taken.add(place)
        return place

    def _own(self, bias: str) -> str | None:
        """Return the layer's name that a bias has, unless layers share it."""
        named = bias.startswith(_PREFIX) and bias.endswith(_BIAS) and self._uses[bias] <= 1
        return bias[len(_PREFIX) : -len(_BIAS)] if named else None

    def _place(self, node: onnx.NodeProto) -> str:
        if node.op_type == "Conv":
            return "patch_embed.proj"
        if node.op_type == "MatMul":
            return next(self._products, node.name)
        name, products = next(self._places)
        self._products = iter(products)
        return name


def _places(norms: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name of each normalisation of a plain vision transformer, and what follows it."""
    for index in range(norms - 1):
        block, half = divmod(index, 2)
        linears = BIG_LINEARS[2 * half : 2 * half + 2]
        products = tuple(f"blocks.{block}.{linear}" for linear in linears)
        yield f"blocks.{block}.{_NORMS[half]}", products
    yield "norm", ()

"""Rounding to integers: scales, zero points, and the Q/DQ nodes that say so in ONNX.

Activations take the 256 steps of uint8 with a zero point. Weights take 7 of int8's 8 bits, with
one scale for each output: the kernels of x86 processors without VNNI add two products
of 8 bits in 16 bits, which saturate silently with full weights. On such a processor that alone
took the cosine of a ViT-Tiny from 0.99 to 0.84; 2 * 255 * 63 fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from vision_edge.export.graph.rewriting import Rewriting
from vision_edge.export.precision.activation_ranges import Seen

_TINY = 1e-12


@dataclass(frozen=True)
class Grid:
    """How a layer's input and weight are rounded.

    Attributes:
        unsigned: uint8 activations with a zero point, or int8 ones without, as TensorRT takes.
    """

    unsigned: bool = True

    @property
    def weight_limit(self) -> int:
        """Largest weight: 63 beside uint8 activations, and 127 otherwise."""
        return 63 if self.unsigned else 127

    def activation(self, seen: Seen) -> tuple[np.float32, np.uint8 | np.int8]:
        """Return the scale and zero point that cover a layer's input."""
        if not self.unsigned:
            return np.float32(max(-seen.low, seen.high, _TINY) / 127), np.int8(0)
        scale = np.float32(max(seen.high - seen.low, _TINY) / 255)
        return scale, np.uint8(np.clip(np.rint(-seen.low / scale), 0, 255))


@dataclass(frozen=True)
class QuantisedLinear:
    """A linear layer in integers: weight int8 (K, M) with scales float32 (M,)."""

    weight: NDArray[np.int8]
    weight_scale: NDArray[np.float32]
    scale: np.float32
    zero: np.uint8 | np.int8

    @classmethod
    def of(cls, weight: NDArray[np.float32], seen: Seen, grid: Grid) -> QuantisedLinear:
        """Quantise a weight float32 (K, M) for the input that was seen."""
        limit = grid.weight_limit
        scale = (np.maximum(np.abs(weight).max(axis=0), _TINY) / limit).astype(np.float32)
        rounded = np.clip(np.rint(weight / scale), -limit, limit).astype(np.int8)
        return cls(rounded, scale, *grid.activation(seen))

    def shift(self, weight: NDArray[np.float32], seen: Seen) -> NDArray[np.float32]:
        """Return by how much rounding moves each output on average, float32 (M,).

        Taken off the bias, as Nagel et al. (2019, arXiv 1906.04721, section 4.2) do, but measured.
        """
        bounds = np.iinfo(self.zero.dtype)
        steps = np.clip(np.rint(seen.rows / self.scale) + self.zero, bounds.min, bounds.max)
        inputs = (steps - self.zero) * self.scale
        moved = inputs @ (self.weight * self.weight_scale) - seen.rows @ weight
        return np.asarray(moved.mean(axis=0), np.float32)

    def write(self, graph: Rewriting, product: onnx.NodeProto, name: str) -> None:
        """Put Q/DQ nodes in front of a layer's matrix product."""
        scale = graph.add_constant(f"{name}.scale", np.asarray(self.scale))
        zero = graph.add_constant(f"{name}.zero", np.asarray(self.zero))
        weight = [
            graph.add_constant(f"{name}.weight_int8", self.weight),
            graph.add_constant(f"{name}.weight_scale", self.weight_scale),
            graph.add_constant(f"{name}.weight_zero", np.zeros(len(self.weight_scale), np.int8)),
        ]
        rounded, back, wide = f"{name}.rounded", f"{name}.input", f"{name}.weight"
        nodes = [
            helper.make_node("QuantizeLinear", [product.input[0], scale, zero], [rounded]),
            helper.make_node("DequantizeLinear", [rounded, scale, zero], [back]),
            helper.make_node("DequantizeLinear", weight, [wide], axis=1),
        ]
        for node in nodes:
            node.name = f"{node.output[0]}_node"
        graph.insert(product, nodes)
        product.input[:] = [back, wide]
        graph.index()

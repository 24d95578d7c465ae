"""int8: the large matrix products of each block in eight bits, calibrated on real images.

Attention, LayerNorm, GELU, the residual stream and the patch embedding stay in float32; so do the
layers whose rounding would turn the embedding too far, each found by trying it alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from vision_edge.export.graph.cpu_session import cpu_session
from vision_edge.export.graph.layers import Layer, layers_of
from vision_edge.export.graph.rewriting import Rewriting
from vision_edge.export.graph.tidy import tidy
from vision_edge.export.precision.activation_ranges import BATCH, Seen, observe
from vision_edge.export.precision.int8_nodes import Grid, QuantisedLinear
from vision_edge.export.precision.layer_harm import layer_harms
from vision_edge.export.precision.rewritten import Precise
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import ExportError

MIN_IMAGES = 16
"""Fewest images that say how large a layer's values become."""
AIM = 0.995
"""Least cosine to the float32 model on the calibration images that int8 hurts most: layers stay in
float32, the worst first, until it is reached. It leaves room to the 0.98 that the gate asks."""
MAX_FLOAT_SHARE = 0.5
"""Most layers that may stay in float32; beyond, int8 is not worth its name."""
_TRIED_IMAGES = 8


@dataclass(frozen=True)
class _Plan:
    """A float32 model and all that is known for quantising it."""

    model: bytes
    layers: Sequence[Layer]
    seen: dict[str, Seen]
    grid: Grid

    def write(self, float_layers: Collection[str] = ()) -> bytes:
        """Return the model with all layers but some in int8."""
        graph = Rewriting(onnx.load_model_from_string(self.model))
        for layer in self.layers:
            if layer.name not in float_layers:
                _quantise(graph, layer, self.seen[layer.name], self.grid)
        return graph.finish()


def to_int8(
    model: bytes, images: Image, *, for_tensorrt: bool = False, aim: float = AIM
) -> Precise:
    """Quantise a float32 model to int8.

    Args:
        model: A bundle's float32 ONNX model.
        images: For calibration, uint8 (N, S, S, 3) BGR, prepared; at least `MIN_IMAGES`, of what
            the camera sees. 64 to 256 are plenty.
        for_tensorrt: Symmetric int8 activations, the only kind that TensorRT takes; otherwise
            uint8 ones, which processors multiply faster and which waste no half of the range.
        aim: Least cosine on the calibration images, below 1: nearer to 1, more layers stay in
            float32.

    Returns:
        The model with Q/DQ nodes around its large matrix products.

    Raises:
        ExportError: If there are too few images or of the wrong type, a layer's values are not
            finite, or too many layers would have to stay in float32.
    """
    _check(images)
    tidied = tidy(model)
    graph = onnx.load_model_from_string(tidied)
    layers = [layer for layer in layers_of(graph.graph) if layer.is_big_linear]
    if not layers:
        raise ExportError(
            "int8 finds the linear layers of blocks by their biases, and this model has none",
            fix="export in fp32 or fp16",
        )
    plan = _Plan(tidied, layers, observe(graph, layers, images), Grid(not for_tensorrt))
    _check_finite(plan.seen)
    float_layers, least = _too_harmful(plan, images, aim)
    return Precise(plan.write(float_layers), "int8", float_layers, _notes(plan, images, least))


def _check(images: Image) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ExportError(
            f"int8 is calibrated on images uint8 (N, S, S, 3); got {images.dtype} {images.shape}",
            fix="prepare each image first",
        )
    if len(images) < MIN_IMAGES:
        raise ExportError(
            f"int8 is calibrated on at least {MIN_IMAGES} images; got {len(images)}",
            fix="give more images of what the camera sees",
        )
    if (images == images[:1]).all():
        raise ExportError(
            f"all {len(images)} calibration images are the same",
            fix="give images of what the camera sees, in all their variety",
        )


def _check_finite(seen: dict[str, Seen]) -> None:
    for name, layer in seen.items():
        if not (np.isfinite(layer.low) and np.isfinite(layer.high)):
            raise ExportError(
                f"{name}: its input has values that are not finite (NaN or infinity)",
                fix="check the backbone's weights and the adapter",
            )


def _quantise(graph: Rewriting, layer: Layer, seen: Seen, grid: Grid) -> None:
    product = next(node for node in graph.nodes if node.name == layer.nodes[0])
    weight = graph.constant(product.input[1])
    assert weight is not None
    quantised = QuantisedLinear.of(weight, seen, grid)
    if layer.bias is not None:
        _shift_bias(graph, layer, quantised.shift(weight, seen))
    quantised.write(graph, product, layer.name)


def _shift_bias(graph: Rewriting, layer: Layer, shift: NDArray[np.float32]) -> None:
    """Give a layer a bias of its own, less what rounding adds on average."""
    added = next(node for node in graph.nodes if node.name == layer.nodes[1])
    bias = graph.constant(layer.bias or "")
    assert bias is not None
    shifted = graph.add_constant(f"{layer.name}.bias", bias - shift)
    added.input[:] = [shifted if value == layer.bias else value for value in added.input]
    graph.index()


def _too_harmful(plan: _Plan, images: Image, aim: float) -> tuple[tuple[str, ...], float]:
    """Return the layers to leave in float32, worst first, and the least cosine without them."""
    expected = _embed(plan.model, images)
    everything = plan.write()
    cosines = _cosines(expected, _embed(everything, images))
    hurt = np.argsort(cosines)[:_TRIED_IMAGES]
    if cosines[hurt[0]] >= aim:
        return (), float(cosines[hurt[0]])
    precise = Precise(everything, "int8", (), ())
    harms = layer_harms(plan.model, precise, images[hurt], plan.layers)
    ordered = sorted(harms, key=lambda name: -harms[name])
    for count in range(1, int(MAX_FLOAT_SHARE * len(ordered)) + 1):
        left = tuple(ordered[:count])
        least = _cosines(expected[hurt], _embed(plan.write(left), images[hurt])).min()
        if least >= aim:
            return left, float(least)
    raise ExportError(
        f"int8 turns embeddings too far: with half of the {len(ordered)} layers left in float32 "
        f"the least cosine is {least:.4f} ({aim} is asked); the worst layer is {ordered[0]}",
        fix="export in fp16, or calibrate on images of what the camera sees",
    )


def _embed(model: bytes, images: Image) -> Embeddings:
    session = cpu_session(model)
    parts = [
        session.run(["embeddings"], {"images": images[start : start + BATCH]})[0]
        for start in range(0, len(images), BATCH)
    ]
    embeddings: Embeddings = np.concatenate(parts)
    return embeddings


def _cosines(left: Embeddings, right: Embeddings) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows; 0 where one is not finite."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(axis=1, dtype=np.float64) / np.maximum(lengths, 1e-12)
    return np.asarray(np.nan_to_num(cosines))


def _notes(plan: _Plan, images: Image, least: float) -> tuple[str, ...]:
    return (
        f"int8 calibrated on {len(images)} images; least cosine on them {least:.4f}",
        "activations int8, symmetric, for TensorRT"
        if not plan.grid.unsigned
        else "activations uint8, weights of 7 bits: no processor saturates on them",
    )

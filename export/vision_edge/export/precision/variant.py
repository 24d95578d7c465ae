"""The graph that is shipped: exported, then rewritten in the precision that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vision_edge.export.graph.tidy import fuse_attention, tidy
from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.model.patch_tokens import PatchOutput
from vision_edge.export.precision.half import to_half
from vision_edge.export.precision.half_weights import with_half_weights
from vision_edge.export.precision.int8 import to_int8
from vision_edge.export.precision.layer_harm import worst_layer
from vision_edge.export.precision.rewritten import Precise
from vision_edge.export.settings import ExportSettings
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ExportError, VisionEdgeError
from vision_edge.runtime.images.preprocess import PreprocessSpec

MIN_CALIBRATION = 16
"""Fewest images that int8 is calibrated on."""


@dataclass(frozen=True)
class Variant:
    """A graph and what it was made from.

    Attributes:
        plain: Serialised ONNX in float32.
        precise: The same in the type that was asked for; None for plain float32.
    """

    plain: bytes
    precise: Precise | None = None

    @property
    def data(self) -> bytes:
        """The graph to ship."""
        return self.plain if self.precise is None else self.precise.model

    def worst_layer(self, images: Image) -> str | None:
        """Return the layer that does most harm, on images uint8 (N, S, S, 3) BGR."""
        if self.precise is None:
            return None
        try:
            return worst_layer(self.plain, self.precise, images)
        except VisionEdgeError:  # what failed is said already; this is only to explain it
            return None


def make_variant(
    model: nn.Module,
    spec: PreprocessSpec,
    settings: ExportSettings,
    calibration: Image | None,
    *,
    for_tensorrt: bool = False,
    patches: PatchOutput | None = None,
) -> Variant:
    """Export a model in the precision that was asked for.

    Args:
        model: A timm vision transformer, its patches pruned already where they shall be.
        spec: Its preprocessing.
        settings: Which precision.
        calibration: For int8: uint8 (N, S, S, 3) BGR, prepared.
        for_tensorrt: Whether TensorRT shall run it, which takes one kind of int8 only.
        patches: The second output, where it is wanted.

    Raises:
        ExportError: If a graph cannot be made.
    """
    plain = to_onnx(EdgeModel(model, spec, patches), spec.size)
    if settings.fused_attention:
        plain = fuse_attention(plain)
    if settings.precision == "fp16":
        return Variant(plain, to_half(plain))
    if settings.precision == "int8":
        return Variant(plain, to_int8(plain, _enough(calibration), for_tensorrt=for_tensorrt))
    plain = tidy(plain)
    if settings.half_weights:
        return Variant(plain, Precise(with_half_weights(plain), "fp16", (), ()))
    return Variant(plain)


def check_calibration(precision: str, count: int | None) -> None:
    """Raise `ExportError` unless int8 has images to be calibrated on, and nothing else has.

    Args:
        precision: What was asked for.
        count: How many images there are to calibrate on; None if none were given.
    """
    if precision != "int8":
        return
    if count is None:
        raise ExportError(
            "int8 needs pictures to be calibrated on: which values each layer really has decides "
            "how they are rounded",
            fix="give --calibrate a folder or zip of pictures like those the camera sees, a pool "
            "that `vision-edge build` left, or a station's gallery",
        )
    if count < MIN_CALIBRATION:
        raise ExportError(
            f"int8 is calibrated on at least {MIN_CALIBRATION} pictures; got {count}",
            fix="give --calibrate more of them; 100 to 200 are plenty",
        )


def _enough(calibration: Image | None) -> Image:
    check_calibration("int8", None if calibration is None else len(calibration))
    assert calibration is not None
    return calibration

"""The one preprocessing function: a frame of any size becomes the model's uint8 input.

Toolkit, export and edge all call `prepare`, so the model sees the same pixels wherever it runs.
Colour order, scaling and normalisation are not here: they are inside the exported graph.
Nothing is ever guessed from pixel values.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import ImageError, require
from vision_edge.runtime.images.area_reduction import Span, area_reduced
from vision_edge.runtime.images.coding import MAX_PIXELS

"""uint8 (H, W, 3), BGR, 0 to 255."""

Triple = tuple[float, float, float]


class PreprocessSpec(BaseModel):
    """What a model expects of its input. Immutable; it travels in the bundle's manifest.

    Attributes:
        size: Side of the model's square input, in pixels.
        crop_pct: Share of the resized short side that the centre crop keeps, in (0, 1].
        interpolation: Kernel for enlarging. Reducing always averages areas, as OpenCV's
            `INTER_AREA` does: its other kernels alias when they reduce.
        mean: Mean per channel, in RGB order, of pixel values scaled to [0, 1].
        std: Standard deviation per channel, in RGB order, of the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(ge=8, le=4096)] = 224
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: Triple = (0.5, 0.5, 0.5)
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ] = (0.5, 0.5, 0.5)


def prepare(image: Image, spec: PreprocessSpec) -> Image:
    """Resize the short side to the model's size and crop the centre square.

    Args:
        image: uint8 (H, W, 3), BGR, 0 to 255.
        spec: What the model expects.

    Returns:
        uint8 (size, size, 3), BGR, 0 to 255, contiguous.

    Raises:
        ImageError: If the image is empty, not uint8 with three channels, or far too elongated.
    """
    check_image(image)
    height, width = image.shape[:2]
    if (height, width) == (spec.size, spec.size) and spec.crop_pct == 1.0:
        return np.ascontiguousarray(image)
    short = max(spec.size, round(spec.size / spec.crop_pct))
    scale = short / min(height, width)
    target = (max(short, round(width * scale)), max(short, round(height * scale)))
    if target[0] * target[1] > MAX_PIXELS:
        raise ImageError(
            f"an image of {width}x{height} pixels is too long and narrow for a square model input",
            fix="crop it first",
        )
    left, top = ((side - spec.size) // 2 for side in target)
    if target[0] < width:
        rows = Span(height, target[1], top, spec.size)
        return area_reduced(image, rows, Span(width, target[0], left, spec.size))
    resized = _enlarged(image, target, spec.interpolation)
    return np.ascontiguousarray(resized[top : top + spec.size, left : left + spec.size])


def _enlarged(image: Image, target: tuple[int, int], interpolation: str) -> Image:
    """Enlarge to `target` (width, height)."""
    cv2 = require("cv2")
    kernel = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[interpolation]
    resized: Image = cv2.resize(image, target, interpolation=kernel)
    return resized

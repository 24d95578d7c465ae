"""The arrays that pass between the rooms, and their checks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.errors import ImageError

Image = NDArray[np.uint8]
"""A picture: uint8 `(H, W, 3)`, 0 to 255, BGR as OpenCV has it; or several, `(N, H, W, 3)`."""


def check_image(image: Image, name: str = "image") -> None:
    """Raise `ImageError` unless `image` is a non-empty uint8 (H, W, 3) array."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"{name} must be a non-empty uint8 array (H, W, 3) in BGR order; "
            f"got {image.dtype} {image.shape}",
            fix="read images with vision_edge.runtime.read_image, or convert them with OpenCV",
        )


Embeddings = NDArray[np.float32]
"""Embeddings: float32 `(N, D)`, or `(D,)` for one picture; of any length, not normalised."""

Patches = NDArray[np.float32]
"""float32 (..., T, D): of each picture T patches, unit rows."""

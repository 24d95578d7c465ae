"""Views of pictures: what stands in for labelled images when the gate is given none.

Each picture is a class of its own, and its views are its other images: cropped, mirrored, relit
and grainy, as the next picture of the same thing would be.
"""

from __future__ import annotations

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require

SIDES = (0.55, 0.9)
"""Share of the picture's side that a view keeps, from and to."""
GAIN, OFFSET, GRAIN = 0.25, 20.0, 6.0
"""How much contrast and brightness vary, and the most noise, in pixel values."""


def views_of(images: Image, count: int, seed: int = 0) -> Image:
    """Return views of each picture, the same for the same seed.

    Args:
        images: uint8 (N, S, S, 3), BGR.
        count: Views a picture, V.
        seed: Decides everything random.

    Returns:
        uint8 (N, V, S, S, 3), BGR.
    """
    views = np.empty((len(images), count, *images.shape[1:]), np.uint8)
    for index, image in enumerate(images):
        rng = np.random.default_rng([seed, index])
        for number in range(count):
            views[index, number] = _view(image, rng)
    return views


def _view(image: Image, rng: np.random.Generator) -> Image:
    cv2 = require("cv2")
    size = len(image)
    side = max(1, round(size * rng.uniform(*SIDES)))
    top, left = rng.integers(0, size - side + 1, 2)
    crop = image[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    whole = cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=cv2.INTER_LINEAR)
    lit = whole * rng.uniform(1 - GAIN, 1 + GAIN) + rng.uniform(-OFFSET, OFFSET)
    noisy = lit + rng.normal(0.0, rng.uniform(0.0, GRAIN), lit.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)

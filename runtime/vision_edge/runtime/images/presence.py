"""Presence: is there a part under the camera, where, and is all of it in view?

The empty scene is learned from one picture of it. A frame is compared after both are blurred, so
that belt texture does not count, and after the frame's brightness is matched to the reference by
the ratio of medians, so that drifting light does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import require

Box = tuple[int, int, int, int]
"""Pixel rectangle (x0, y0, x1, y1), the right and lower edges excluded."""

_WORK_SIDE = 160
_MIN_AREA = 0.02
_MIN_DIFFERENCE = 14.0
_MARGIN = 1.3


@dataclass(frozen=True)
class Found:
    """Something that is not the empty scene.

    Attributes:
        box: Where, in pixels of the image.
        complete: Whether it lies wholly inside the image: it touches no border.
    """

    box: Box
    complete: bool


class Presence:
    """Finds what was put into an otherwise empty scene.

    Args:
        empty: The empty scene, uint8 (H, W, 3), BGR.

    Raises:
        ImageError: If it is not an image.
    """

    def __init__(self, empty: Image) -> None:
        check_image(empty, "the empty scene")
        self._size = (empty.shape[1], empty.shape[0])
        self._reference = self._reduced(empty)
        self._median = np.median(self._reference, axis=(0, 1))

    def find(self, image: Image) -> Found | None:
        """Find what is in an image of the same scene.

        Args:
            image: uint8 (H, W, 3), BGR, of the empty scene's size.

        Returns:
            The box around the largest thing, or None if the scene is empty.
        """
        cv2 = require("cv2")
        reduced = self._reduced(image)
        gain = np.maximum(np.median(reduced, axis=(0, 1)), 1.0) / np.maximum(self._median, 1.0)
        difference = np.abs(reduced / gain - self._reference).max(axis=2)  # (h, w)
        level = max(_MIN_DIFFERENCE, 6.0 * float(np.median(difference)))
        mask = (difference > level).astype(np.uint8)
        box = _main_box(cv2, mask)
        if box is None:
            return None
        height, width = mask.shape
        inside = box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height
        scale = self._size[0] / width
        x0, y0, x1, y1 = (round(edge * scale) for edge in box)
        return Found((x0, y0, x1, y1), inside)

    def _reduced(self, image: Image) -> NDArray[np.float32]:
        """Return the image small and blurred: float32 (h, w, 3)."""
        cv2 = require("cv2")
        scale = _WORK_SIDE / min(self._size)
        size = (max(1, round(self._size[0] * scale)), max(1, round(self._size[1] * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(small, (0, 0), 1.6).astype(np.float32)
        reduced: NDArray[np.float32] = blurred
        return reduced


def _main_box(cv2: Any, mask: NDArray[np.uint8]) -> Box | None:
    """Return the box around the largest component and what overlaps it, or None if it is small.

    The next part at the border, or a seam of the belt, is no part of it.
    """
    solid = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))  # drops thin seams
    joined = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    parts = stats[1:]  # the first component is the background
    if not len(parts) or parts[:, cv2.CC_STAT_AREA].max() < _MIN_AREA * mask.size:
        return None
    boxes = parts[:, :4].astype(int)
    boxes[:, 2:] += boxes[:, :2]  # x0, y0, x1, y1
    main = boxes[parts[:, cv2.CC_STAT_AREA].argmax()]
    overlaps = (boxes[:, :2] < main[2:]).all(axis=1) & (boxes[:, 2:] > main[:2]).all(axis=1)
    near = boxes[overlaps]
    x0, y0 = near[:, :2].min(axis=0)
    x1, y1 = near[:, 2:].max(axis=0)
    return int(x0), int(y0), int(x1), int(y1)


def crop_around(image: Image, box: Box, margin: float = _MARGIN) -> Image:
    """Return the square around a box, moved so that it lies inside the image.

    Args:
        image: uint8 (H, W, 3), BGR.
        box: What to show.
        margin: Side of the square, in longer sides of the box.

    Returns:
        uint8 (S, S, 3), BGR; S is at most the image's shorter side.
    """
    x0, y0, x1, y1 = square_around((image.shape[1], image.shape[0]), box, margin)
    return np.ascontiguousarray(image[y0:y1, x0:x1])


def square_around(size: tuple[int, int], box: Box, margin: float = _MARGIN) -> Box:
    """Return the square that `crop_around` cuts out of an image of `size` (width, height)."""
    width, height = size
    side = max(box[2] - box[0], box[3] - box[1]) * margin
    side = max(1, min(round(side), height, width))
    x = min(max((box[0] + box[2] - side) // 2, 0), width - side)
    y = min(max((box[1] + box[3] - side) // 2, 0), height - side)
    return x, y, x + side, y + side

"""What an outline encloses and runs along, counted by grey level."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.images.touching import Outline


def enclosed(cv2: Any, outline: Outline) -> tuple[tuple[slice, slice], NDArray[np.uint8]]:
    """Return where an outline lies, and a mask of what it encloses there: uint8 (h, w), 0 or 1."""
    x, y, width, height = cv2.boundingRect(outline)
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [outline], -1, 1, cv2.FILLED, offset=(-x, -y))
    return np.s_[y : y + height, x : x + width], inside


def histogram(cv2: Any, levels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how often each level occurs where a mask is not 0: float32 (256,)."""
    counts: NDArray[np.float32] = cv2.calcHist([levels], [0], mask, [256], [0, 256])
    return counts.ravel()


def level_of(counts: NDArray[Any], share: float) -> float:
    """Return the level below which a share of what is counted lies; 0 of nothing."""
    upto = counts.cumsum(dtype=np.float64)
    rank = int(share * (upto[-1] - 1))
    return float(np.searchsorted(upto, rank, side="right")) if upto[-1] else 0.0


def edges_in(cv2: Any, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return by how many grey levels a picture changes within two pixels: uint8 (h, w)."""
    gradient = cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    blue, green, red = cv2.split(gradient)
    wide: NDArray[np.uint8]
    wide = cv2.dilate(cv2.max(cv2.max(blue, green), red), np.ones((5, 5), np.uint8))
    return wide


def edge_along(edges: NDArray[np.uint8], outline: Outline) -> float:
    """Return how much of an edge half of an outline is at least, in grey levels."""
    return level_of(np.bincount(edges[outline[:, 0, 1], outline[:, 0, 0]]), 0.5)

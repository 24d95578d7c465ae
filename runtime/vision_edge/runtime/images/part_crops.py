"""A part's picture: the square around it, without what its neighbours show of themselves there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.locating import EmptyScene, Found
from vision_edge.runtime.images.part_outlines import Box, area, common
from vision_edge.runtime.images.presence import MARGIN, square_around

_RIM = 0.03
"""How far a part's blur and shade reach beyond its outline, in sides of the square."""
_ENOUGH = 32
"""Pixels of the scene, one in `_EVERY`, from which on its colour is theirs."""
_EVERY = 7
_LEVELS = np.arange(256, dtype=np.float32)[:, None, None]


def crop_alone(
    image: Image,
    part: Found,
    others: Sequence[Found],
    scene: EmptyScene | None = None,
    margin: float = MARGIN,
) -> Image:
    """Return the square around a part, without what other parts show of themselves there.

    A neighbour in the picture of a part would make it look like neither. Where there is one, and
    the part's outline and the empty scene are known, all beyond the outline is the empty scene.
    Where they are not, neighbours take the median colour of what shows no part. Without a neighbour
    the picture stays as it is.

    Args:
        image: uint8 (H, W, 3), BGR.
        part: What to show.
        others: What else is in view; the part itself may be among it.
        scene: The same view without parts.
        margin: Side of the square, in longer sides of the part's box.

    Returns:
        uint8 (S, S, 3), BGR; S is at most the image's shorter side.
    """
    square = square_around((image.shape[1], image.shape[0]), part.box, margin)
    x0, y0, x1, y1 = square
    crop = np.ascontiguousarray(image[y0:y1, x0:x1])
    near = [one for one in others if one.box != part.box and area(common(one.box, square))]
    if not near:
        return crop
    cv2, rim = require("cv2"), max(1, round(_RIM * (x1 - x0)))
    own, beside = _covered(cv2, [part], square), _covered(cv2, near, square)
    if part.outlines and scene is not None:
        hidden = ~cv2.dilate(own, _disc(cv2, rim)) | beside
        return _laid(cv2, crop, hidden, _seen_in(cv2, scene, image, square))
    beside = cv2.dilate(beside, _disc(cv2, rim))
    free = crop[(beside | own) == 0][::_EVERY]
    colour = np.median(free, axis=0) if len(free) >= _ENOUGH else np.full(3, 128)
    return _laid(cv2, crop, beside & ~own, np.broadcast_to(colour.astype(np.uint8), crop.shape))


def _laid(cv2: Any, crop: Image, hidden: NDArray[np.uint8], over: Image) -> Image:
    """Return a picture with another laid over what is hidden."""
    result = crop.copy()
    cv2.copyTo(np.ascontiguousarray(over), hidden, result)
    return result


def _seen_in(cv2: Any, scene: EmptyScene, image: Image, square: Box) -> Image:
    """Return what the scene shows in a square of the image, in the image's light."""
    x0, y0, x1, y1 = square
    height, width = scene.image.shape[:2]
    if (height, width) == image.shape[:2]:
        seen = np.ascontiguousarray(scene.image[y0:y1, x0:x1])
    else:
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        left, top = (np.array([x0, y0]) + 0.5) * scale - 0.5
        matrix = np.array([[scale[0], 0.0, left], [0.0, scale[1], top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_REPLICATE
        size = (x1 - x0, y1 - y0)
        seen = cv2.warpAffine(scene.image, matrix, size, flags=flags, borderMode=border)
    lit: Image = cv2.LUT(seen, cv2.convertScaleAbs(_LEVELS * scene.light))
    return lit


def _disc(cv2: Any, radius: int) -> NDArray[np.uint8]:
    disc: NDArray[np.uint8] = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return disc


def _covered(cv2: Any, parts: Sequence[Found], square: Box) -> NDArray[np.uint8]:
    """Return what parts cover of a square: uint8 (S, S), 0 or 255."""
    covered = np.zeros((square[3] - square[1], square[2] - square[0]), np.uint8)
    corner = (-square[0], -square[1])
    for part in parts:
        if part.outlines:
            cv2.drawContours(covered, part.outlines, -1, 255, cv2.FILLED, offset=corner)
        else:
            (a, b, c, d), (x, y) = part.box, corner
            cv2.rectangle(covered, (a + x, b + y), (c + x - 1, d + y - 1), 255, cv2.FILLED)
    return covered

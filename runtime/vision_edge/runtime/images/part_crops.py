"""A part's picture: the square around it, without what its neighbours show of themselves there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.locating import Found
from vision_edge.runtime.images.part_outlines import Box, area, common
from vision_edge.runtime.images.presence import MARGIN, square_around

_RIM = 0.03
"""How far a part's blur and shade reach beyond its outline, in sides of the square."""
_ENOUGH = 32
"""Pixels of the scene, one in `_EVERY`, from which on its colour is theirs."""
_EVERY = 7


def crop_alone(
    image: Image,
    part: Found,
    others: Sequence[Found],
    scene: Image | None = None,
    margin: float = MARGIN,
) -> Image:
    """Return the square around a part, without what does not belong to it.

    A neighbour in the picture of a part would make it look like neither. Where the part's outline
    and the empty scene are known, all beyond the outline is the empty scene. Otherwise neighbours
    are painted over with the median colour of what shows no part, by their outlines or boxes.

    Args:
        image: uint8 (H, W, 3), BGR.
        part: What to show.
        others: What else is in view; the part itself may be among it.
        scene: The same view without parts, uint8 (h, w, 3), BGR, of any size.
        margin: Side of the square, in longer sides of the part's box.

    Returns:
        uint8 (S, S, 3), BGR; S is at most the image's shorter side.
    """
    square = square_around((image.shape[1], image.shape[0]), part.box, margin)
    x0, y0, x1, y1 = square
    crop = np.ascontiguousarray(image[y0:y1, x0:x1])
    near = [one for one in others if one.box != part.box and area(common(one.box, square))]
    cv2, rim = require("cv2"), max(1, round(_RIM * (x1 - x0)))
    if part.outlines and scene is not None:
        own = cv2.dilate(_covered(cv2, [part], square), _disc(cv2, rim))
        hidden = ~own | _covered(cv2, near, square)
        return _laid(cv2, crop, hidden, _seen_in(cv2, scene, image, square))
    if not near:
        return crop
    own = _covered(cv2, [part], square)
    beside = cv2.dilate(_covered(cv2, near, square), _disc(cv2, rim))
    free = crop[(beside | own) == 0][::_EVERY]
    colour = np.median(free, axis=0) if len(free) >= _ENOUGH else np.full(3, 128)
    return _laid(cv2, crop, beside & ~own, np.broadcast_to(colour.astype(np.uint8), crop.shape))


def _laid(cv2: Any, crop: Image, hidden: NDArray[np.uint8], over: Image) -> Image:
    """Return a picture with another laid over what is hidden."""
    result = crop.copy()
    cv2.copyTo(np.ascontiguousarray(over), hidden, result)
    return result


def _seen_in(cv2: Any, scene: Image, image: Image, square: Box) -> Image:
    """Return what a picture of the scene, of another size, shows in a square of the image."""
    scale = np.array([scene.shape[1] / image.shape[1], scene.shape[0] / image.shape[0]])
    left, top = (np.array(square[:2]) + 0.5) * scale - 0.5
    matrix = np.array([[scale[0], 0.0, left], [0.0, scale[1], top]])
    side = (square[2] - square[0], square[3] - square[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen: Image = cv2.warpAffine(scene, matrix, side, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return seen


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

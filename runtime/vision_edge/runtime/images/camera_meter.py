"""Meters for who sets up a camera: focus, light, and how far the picture is smeared by movement.

All look at the picture as the model does, at a short side of 256 pixels, so that they say the same
of a camera of 320x240 and of one of 4K. Tested over those sizes, blur of 0 to 3 % of the short side
and light from an eighth to three times what is right
(`tests/runtime/images/test_camera_meter.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.runtime.images.quality import sharpness

_SIDE = 256
WHITE, BLACK = 250, 5
"""Grey levels from which on, and up to which, a pixel is clipped: it shows no detail."""
_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Smears that are tried, in reduced pixels: up to a tenth of the short side."""
_LEAST_DETAIL = 3.0
"""Standard deviation of coarse detail along an axis below which that axis tells nothing."""
_BANDS = (1.0, 3.0, 12.0)
"""Blurs between which fine and coarse detail lie, in reduced pixels."""
_NOTICED, _SHARP = 1.2, 0.34
"""An axis is smeared if it is less sharp than the other by that factor, and no sharper than that.

Of 72 rendered parts with sensor noise none counts as smeared; smeared by 3 % of the short side 9 in
10 do, by 2 % 6 in 10. The length found is 0.75 to 0.9 of the true one up to 6 %.
"""


@dataclass(frozen=True)
class Meters:
    """What one picture tells of its camera.

    Attributes:
        sharpness: Fine in coarse detail, 0 to about 1; below 0.2 it is out of focus.
        brightest: Grey level that a twentieth of the picture reaches, 0 to 255.
        darkest: Grey level that a twentieth of the picture stays below, 0 to 255.
        white: Share of pixels that are clipped at the bright end, 0 to 1.
        black: The same at the dark end.
        smear: How far movement smears the picture, as a share of its short side; 0 if it does not.
        along: Which way: along its rows (`x`) or columns (`y`); None without smear.
    """

    sharpness: float
    brightest: float
    darkest: float
    white: float
    black: float
    smear: float = 0.0
    along: Literal["x", "y"] | None = None


def read_meters(image: Image) -> Meters:
    """Return what a picture, or the part cut out of it, tells of its camera.

    Args:
        image: uint8 (H, W, 3), BGR; its middle square is looked at.

    Raises:
        ImageError: If it is no picture.
    """
    check_image(image)
    cv2: Any = require("cv2")
    small = prepare(image, PreprocessSpec(size=_SIDE))
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    levels = grey.astype(np.float32)
    smear, along = _smear(cv2, levels)
    return Meters(
        sharpness(levels),
        float(np.percentile(grey, 95)),
        float(np.percentile(grey, 5)),
        float((small.max(axis=2) >= WHITE).mean()),
        float((small.max(axis=2) <= BLACK).mean()),
        smear / _SIDE,
        along,
    )


def _smear(cv2: Any, grey: NDArray[np.float32]) -> tuple[float, Literal["x", "y"] | None]:
    """Return by how many pixels one axis is smeared beyond the other, and which.

    The sharper axis is smeared on trial until it is as dull as the other: that is the length.
    """
    detail = {axis: _detail(cv2, grey, axis) for axis in ("x", "y")}
    if min(coarse for _, coarse in detail.values()) < _LEAST_DETAIL:
        return 0.0, None
    ratio = {axis: fine / coarse for axis, (fine, coarse) in detail.items()}
    dull: Literal["x", "y"] = "x" if ratio["x"] < ratio["y"] else "y"
    sharp: Literal["x", "y"] = "y" if dull == "x" else "x"
    if ratio[dull] > _SHARP or ratio[sharp] < _NOTICED * ratio[dull]:
        return 0.0, None
    tried = [
        (length, _ratio(cv2, _smeared(cv2, grey, sharp, length), sharp)) for length in _LENGTHS
    ]
    for (shorter, above), (longer, below) in pairwise(tried):
        if below <= ratio[dull]:
            share = (above - ratio[dull]) / max(above - below, 1e-9)
            return shorter + share * (longer - shorter), dull
    return float(_LENGTHS[-1]), dull


def _ratio(cv2: Any, grey: NDArray[np.float32], axis: str) -> float:
    fine, coarse = _detail(cv2, grey, axis)
    return fine / max(coarse, 1e-3)


def _detail(cv2: Any, grey: NDArray[np.float32], axis: str) -> tuple[float, float]:
    """Return the standard deviation of fine and of coarse detail along an axis."""
    bands = [_dulled(cv2, grey, axis, width) for width in _BANDS]
    fine, coarse = (float((a - b).std()) for a, b in pairwise(bands))
    return fine, coarse


def _dulled(cv2: Any, grey: NDArray[np.float32], axis: str, width: float) -> NDArray[np.float32]:
    """Return a picture blurred by so much along an axis, and by the least across it."""
    along, across = (width, _BANDS[0]) if axis == "x" else (_BANDS[0], width)
    dulled: NDArray[np.float32] = cv2.GaussianBlur(grey, (0, 0), sigmaX=along, sigmaY=across)
    return dulled


def _smeared(cv2: Any, grey: NDArray[np.float32], axis: str, length: int) -> NDArray[np.float32]:
    kernel = (length, 1) if axis == "x" else (1, length)
    smeared: NDArray[np.float32] = cv2.blur(grey, kernel)
    return smeared

"""The quality gate: what is wrong with a picture that is to become a product's snapshot.

The limits were set on train splits: fewer than 1 in 100 of their images are refused, and at least
95 in 100 of the same images darkened or blurred (benchmarks/snapshots.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.locating import Found, Locator, most_prominent

MIN_SIDE = 64
DARK_LEVEL = 50.0
"""A picture is too dark when not even its brightest twentieth reaches this grey level."""
BRIGHT_LEVEL = 250.0
"""A picture is burnt out when all but its darkest quarter is above this grey level."""
MIN_CONTRAST = 8.0
"""Standard deviation of grey levels below which there is nothing to see."""
MIN_SHARPNESS = 0.2
"""Share of fine in coarse detail below which a picture is blurred."""

_WORK_SIDE = 256
_FINE, _COARSE = 1.5, 6.0
_ROUNDING = 12**-0.5  # standard deviation of rounding to whole grey levels


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a picture.

    Attributes:
        kind: One word: `small`, `dark`, `bright`, `blank`, `blurred`, `absent`, `cut off`,
            `several`, `background`, `similar` or `outlier`.
        message: What, with the value found and its limit.
        fix: What to do about it.
    """

    kind: str
    message: str
    fix: str


def inspect_picture(
    image: Image, locator: Locator | None = None, *, on_white: bool = False
) -> list[Finding]:
    """Return what is wrong with a picture; nothing if it may be registered.

    Args:
        image: uint8 (H, W, 3), BGR.
        locator: Finds parts; without it nobody can tell whether the part is all there.
        on_white: Whether white around the part is as it should be, and not burnt out.

    Raises:
        ImageError: If it is no picture.
    """
    check_image(image)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        return [
            Finding(
                "small",
                f"too small: {width}x{height} pixels; its short side needs {MIN_SIDE}",
                "go nearer, or use the camera's full resolution",
            )
        ]
    grey = _grey(image)
    found = [f for f in _light(grey) if not (on_white and f.kind == "bright")]
    return found or _detail(grey) or _wholeness(image, locator)


def sharpness(grey: NDArray[np.float32]) -> float:
    """Return the ratio of fine to coarse detail of a grey picture whose short side is 256.

    Both are standard deviations of a band: what a blur of 1.5 pixels takes away, and what one of 6
    takes away of the rest. Their ratio does not depend on contrast. What rounding to whole grey
    levels leaves even of a picture without any detail is no detail: it is taken off the fine one.
    """
    cv2: Any = require("cv2")
    fine = cv2.GaussianBlur(grey, (0, 0), _FINE)
    coarse = cv2.GaussianBlur(grey, (0, 0), _COARSE)
    detail = max(0.0, float((grey - fine).std()) - _ROUNDING)
    return detail / (float((fine - coarse).std()) + 1e-3)


def picture_sharpness(image: Image) -> float:
    """Return the sharpness of a picture, uint8 (H, W, 3) BGR, for comparing pictures of one part.

    Raises:
        ImageError: If it is no picture.
    """
    check_image(image)
    return sharpness(_grey(image))


def _light(grey: NDArray[np.float32]) -> list[Finding]:
    brightest, darkest = float(np.percentile(grey, 95)), float(np.percentile(grey, 25))
    if brightest < DARK_LEVEL:
        message = f"too dark: its brightest parts reach {brightest:.0f} of 255 ({DARK_LEVEL:.0f})"
        return [Finding("dark", message, "add light, or a longer exposure")]
    if darkest > BRIGHT_LEVEL:
        message = f"burnt out: three quarters of it are above {BRIGHT_LEVEL:.0f} of 255"
        return [Finding("bright", message, "less light, or a shorter exposure")]
    return []


def _detail(grey: NDArray[np.float32]) -> list[Finding]:
    contrast = float(grey.std())
    if contrast < MIN_CONTRAST:
        message = f"nothing to see: its contrast is {contrast:.1f}, at least {MIN_CONTRAST:g}"
        return [Finding("blank", message, "put the part under the camera; check the lens cap")]
    found = sharpness(grey)
    if found < MIN_SHARPNESS:
        message = f"blurred: its sharpness is {found:.2f}, at least {MIN_SHARPNESS:g}"
        return [Finding("blurred", message, "focus, hold still, or a shorter exposure")]
    return []


def _wholeness(image: Image, locator: Locator | None) -> list[Finding]:
    return [] if locator is None else whole_part(most_prominent(locator.find_all(image)))


def whole_part(found: Found | None) -> list[Finding]:
    """Return what is wrong with the part that was found in a picture."""
    if found is None:
        message = "no part: it shows what the empty scene shows"
        return [Finding("absent", message, "put the part under the camera")]
    if not found.complete:
        x0, y0, x1, y1 = found.box
        message = f"cut off: the part at {x0},{y0} to {x1},{y1} touches the picture's edge"
        return [Finding("cut off", message, "move the part wholly into view")]
    return []


def _grey(image: Image) -> NDArray[np.float32]:
    """Return the picture grey, its short side 256 pixels: float32 (h, w)."""
    cv2: Any = require("cv2")
    height, width = image.shape[:2]
    scale = _WORK_SIDE / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    reduced: NDArray[np.float32] = cv2.resize(grey, size, interpolation=kernel).astype(np.float32)
    return reduced

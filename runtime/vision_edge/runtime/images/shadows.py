"""Shadows: what is darker and nothing else.

A shadow takes the same share of the light from every colour, leaves the ground's texture as it is,
only fainter, and mostly has a soft edge; a part has a colour, a texture or an edge of its own. The
limits were chosen on products of a train split and drawn shadows (`benchmarks/shadows.py`). That a
shadow scales all colours alike is the usual model (Prati, Mikic, Trivedi and Cucchiara, "Detecting
moving shadows", IEEE TPAMI 25, 2003); the texture's part in it, without an empty picture that fits
pixel by pixel, since belts move, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.images.outline_levels import edge_along, enclosed, histogram, level_of
from vision_edge.runtime.images.touching import Outline

SHARP = 2.0
"""A part's outline is so many times as much of an edge as the ground around it."""
_SHADE, _BRIGHTEST, _GREY = 0.55, 1.02, 0.12
"""Shade leaves so much of the light at least and at most, and of each colour the same but for so
much."""
_MOSTLY = 0.5
"""Share of an outline that is shade, from which on a soft one is a shadow's."""
_DARKEST, _DIMMED, _ALIKE = 0.2, 0.97, 0.13
"""A whole shadow leaves so much of the light at least and at most; its mean colours lose the same
but for so much of it. Shadows drawn on four belts differ by 0.1 at most but for one in ten, parts
without colour by 0.05, others by 0.3 and more."""
_SOFT = 2.5
"""Its edge is at most so many times as much of one as the ground. Shadows with an edge 12 pixels
wide of 1280 have 2.3, dark parts 2.4 to 9, others 8 and more."""
_FAINTER, _STRONGER, _LEGIBLE = 0.8, 1.35, 0.4
"""The ground's texture is as faint in it as the light is, between these factors; it shows no less
of it in any shadow that was drawn (0.97), and half of a plain part. With a softer edge it may show
more, as sensor noise does not get fainter. With a harder one it must leave `_LEGIBLE` of the
light."""
_REACH = 9
"""Pixels from its edge within which its texture is not looked at; odd."""
_CORE, _SLACK = 0.35, 0.12
"""A shadow's light is that which this share of it is darker than; it may be darker by so much."""
_OFF = 8.0
"""Grey levels by which a colour in it may be off what its light makes of the ground's: grain that
is alike in all colours is not, on a ground of one colour."""
_CRUMB = 7
"""Pixels of what remains of a shadow's edge; odd."""
_RATIO = 200.0
"""What no change is, where ratios of brightness are told in whole numbers up to 255."""


def may_be_shade(
    cv2: Any, picture: NDArray[np.uint8], empty: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return what may be a part's shade, by its pixels alone: uint8 (h, w), 0 or 255."""
    low, high = _ratios(cv2, picture, empty)
    shade = cv2.inRange(low, _RATIO * _SHADE, 255.0) & cv2.inRange(high, 0.0, _RATIO * _BRIGHTEST)
    found: NDArray[np.uint8] = shade & cv2.inRange(high - low, 0.0, _RATIO * _GREY)
    return found


class Shadows:
    """A region of a picture, in which outlines may be those of shadows.

    Args:
        picture: uint8 (h, w, 3), BGR, in the light of the empty scene.
        empty: uint8 (h, w, 3): the empty scene there.
        edges: uint8 (h, w), by how many grey levels the picture changes near each pixel.
        around: The same of the empty ground around, in the middle.
    """

    def __init__(
        self,
        picture: NDArray[np.uint8],
        empty: NDArray[np.uint8],
        edges: NDArray[np.uint8],
        around: float,
    ) -> None:
        self._picture, self._empty, self._edges, self._around = picture, empty, edges, around
        self._cached: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def light_in(self, cv2: Any, outline: Outline) -> float | None:
        """Return the share of the light that a shadow leaves; None where an outline is no shadow's.

        It is one if it encloses nothing but shade, or mostly so.
        """
        where, inside = enclosed(cv2, outline)
        now = np.array(cv2.mean(self._picture[where], inside)[:3])
        ratio = now / np.maximum(cv2.mean(self._empty[where], inside)[:3], 1.0)
        light, unlike = float(ratio.mean()), float(ratio.max() - ratio.min())
        edge = edge_along(self._edges, outline)
        alike = _DARKEST <= light <= _DIMMED and unlike <= _ALIKE * float(ratio.max())
        soft = edge < (_SOFT if alike else SHARP) * self._around
        if not alike and (not soft or cv2.mean(self._dim(cv2)[1][where], inside)[0] < _MOSTLY):
            return None
        shares = self._dim(cv2)[0][where]
        light = level_of(histogram(cv2, shares, inside), _CORE) / _RATIO
        texture, expected = self._texture(cv2, where, inside), light * self._around
        hard = light >= _LEGIBLE and texture <= _STRONGER * expected
        return light if texture >= _FAINTER * expected and (soft or hard) else None

    def _texture(self, cv2: Any, where: tuple[slice, slice], inside: NDArray[np.uint8]) -> float:
        """Return by how many grey levels half of what is enclosed changes, away from its edge."""
        edge = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        middle = cv2.erode(edge, np.ones((_REACH, _REACH), np.uint8))[1:-1, 1:-1]
        within = np.ascontiguousarray(middle) if middle.any() else inside
        return level_of(histogram(cv2, self._edges[where], within), 0.5)

    def without(
        self, cv2: Any, mask: NDArray[np.uint8], shadows: Sequence[Outline], light: float
    ) -> NDArray[np.uint8]:
        """Return a mask, uint8 (h, w), 0 or 1, where shadows leave only what is not dim itself.

        Args:
            cv2: OpenCV.
            mask: What differs from the empty scene.
            shadows: The outlines of shadows in it.
            light: Share of the light that the deepest leaves.
        """
        shares, dim = self._dim(cv2)
        dim = dim & cv2.inRange(shares, _RATIO * (light - _SLACK), 255.0)
        within = np.zeros(mask.shape, np.uint8)
        cv2.drawContours(within, shadows, -1, 1, cv2.FILLED)
        crumb = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CRUMB, _CRUMB))
        left = cv2.morphologyEx(mask & within & ~dim, cv2.MORPH_OPEN, crumb)
        lit: NDArray[np.uint8] = (mask & ~within) | left
        return lit

    def _dim(self, cv2: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return each pixel's share of the light, by `_RATIO`, and 1 where that explains it."""
        if self._cached is None:
            smooth = cv2.blur(self._picture, (5, 5))
            light = cv2.divide(_grey(cv2, smooth), _grey(cv2, self._empty), scale=_RATIO)
            expected = cv2.multiply(self._empty, cv2.merge([light] * 3), scale=1 / _RATIO)
            blue, green, red = cv2.split(cv2.absdiff(smooth, expected))
            dim = cv2.inRange(cv2.max(cv2.max(blue, green), red), 0.0, _OFF)
            self._cached = light, dim & cv2.inRange(light, 0.0, _RATIO * _BRIGHTEST) & 1
        return self._cached


def _grey(cv2: Any, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return grey


def _ratios(
    cv2: Any, picture: NDArray[np.uint8], empty: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return each pixel's least and greatest ratio of a colour to the empty scene's."""
    blue, green, red = cv2.split(cv2.divide(picture, empty, scale=_RATIO))
    return cv2.min(cv2.min(blue, green), red), cv2.max(cv2.max(blue, green), red)

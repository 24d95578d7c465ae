"""Presence: which parts are under the camera, where, and is all of each in view?

The empty scene is learned from one picture of it, and follows it as light and dirt change. A frame
is compared after both are blurred, so that belt texture does not count, and after its brightness is
matched to the empty scene's. The match is made where the empty scene is still to be seen: a part
that is wholly in view touches no border, so the border shows the belt however large the part is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.locating import EmptyScene, Found, most_prominent
from vision_edge.runtime.images.part_outlines import (
    FINE,
    Box,
    Outlines,
    box_of,
    largest,
    outlines,
    regions,
)

_WORK_SIDE = 180
"""Pixels of the shorter side that scenes are compared at; up to half as many more."""
MIN_SIDE = 0.04
"""A part's longer side at least, as a share of the view's shorter. Tested from 0.05 to 0.95."""
_MIN_DIFFERENCE = 14.0
"""Grey levels that count as a difference, in a scene whose own changes are smaller."""
_BORDER = 5
"""Width of the border whose brightness is matched, in reduced pixels."""
_GAIN_RANGE = (0.5, 2.0)
"""How much darker or brighter the light may become; beyond, it is a new empty scene."""
_EDGE = 3
"""Reduced pixels from the border within which a part may go on outside: the blur's width."""
MARGIN = 1.3
"""Side of the square that a part is shown in, in longer sides of its box."""
_LEVELS = np.arange(256, dtype=np.float32)[:, None, None]
_FOLLOW = 0.05
"""Share of a new look at the empty scene that is mixed into what is known of it."""
_FITS = 0.35
"""Share of the border that must look as it did, or the empty scene is another one by now."""
_LOOKS = 25
"""Looks that the border must look otherwise for, before that is said."""


class Presence:
    """Finds what was put into an otherwise empty scene.

    Args:
        empty: The empty scene, uint8 (H, W, 3), BGR.
        touching: Whether parts may touch, and are taken apart then; a part with necks may be, too.

    Attributes:
        size: The empty scene's (width, height).

    Raises:
        ImageError: If it is not an image.
    """

    def __init__(self, empty: Image, *, touching: bool = True) -> None:
        check_image(empty, "the empty scene")
        self._touching = touching
        self._empty = empty
        self.size = (empty.shape[1], empty.shape[0])
        self._fine = _fine_size(*self.size)
        self._small = (max(1, self._fine[0] // FINE), max(1, self._fine[1] // FINE))
        self._reference = self._reduced(self._resized(empty)).astype(np.float32)
        self._gain = np.ones(3, np.float32)
        self._seen_size = self.size
        self._unlike = 0

    @property
    def doubt(self) -> str | None:
        """What speaks against the empty scene's picture; None if nothing does.

        It is of another size than the frames, or it is an old one: the border, where the empty
        scene should be to be seen, has looked otherwise for a while.
        """
        if self._seen_size != self.size:
            own, seen = ("x".join(map(str, size)) for size in (self.size, self._seen_size))
            return f"the picture of the empty scene has {own} pixels, the frames have {seen}"
        if self._unlike >= _LOOKS:
            return "the scene's border looks unlike the picture of the empty scene, which is old"
        return None

    @property
    def scene(self) -> EmptyScene:
        """The picture of the empty scene, and the light of the last frame."""
        return EmptyScene(self._empty, self._gain)

    def find(self, image: Image) -> Found | None:
        """Find what is in an image of the same scene.

        Args:
            image: uint8 (H, W, 3), BGR, of the empty scene's view; of another size it is scaled.

        Returns:
            The largest thing that is wholly in view, or else the largest; None in an empty scene.
        """
        return most_prominent(self.find_all(image))

    def find_all(self, image: Image) -> list[Found]:
        """Find everything in an image of the same scene, from left to right.

        Parts that touch are taken apart where their outline has a neck, or a corner from which an
        edge runs across. Parts that lie upon each other are found as one.

        Args:
            image: uint8 (H, W, 3), BGR, of the empty scene's view; of another size it is scaled.
        """
        self._seen_size = (image.shape[1], image.shape[0])
        fine = self._resized(image)
        lit, difference = self._compared(self._reduced(fine))
        level = _noise(difference)
        where = regions(difference, level, MIN_SIDE)
        mask = difference > level
        parts = [part for region in where for part in self._parts(fine, region, mask, level)]
        scale = (image.shape[1] / self._fine[0], image.shape[0] / self._fine[1])
        found = sorted((_found(part, self._fine, scale) for part in parts), key=_place)
        if not self._unlike:  # what is not the same scene teaches nothing of it
            self._follow(lit, mask, bool(where))
        return found

    def _parts(
        self, fine: Image, region: Box, mask: NDArray[np.bool_], level: float
    ) -> list[Outlines]:
        """Return the outlines of the parts in one region of the small picture, in fine pixels."""
        cv2 = require("cv2")
        (width, height), pad = self._small, 3
        x0, y0 = max(0, region[0] - pad), max(0, region[1] - pad)
        x1, y1 = min(width, region[2] + pad), min(height, region[3] + pad)
        small = np.s_[y0:y1, x0:x1]
        size = (FINE * (x1 - x0), FINE * (y1 - y0))
        empty = cv2.resize(cv2.convertScaleAbs(self._reference[small]), size)
        rough = cv2.dilate(mask[small].astype(np.uint8), np.ones((3, 3), np.uint8))
        rough = cv2.resize(rough, size, interpolation=cv2.INTER_NEAREST)
        left, top = FINE * x0, FINE * y0
        picture = fine[top : top + size[1], left : left + size[0]]
        lit = cv2.LUT(cv2.GaussianBlur(picture, (0, 0), 0.8), cv2.convertScaleAbs(self._light()))
        side = min(self._fine)
        found = outlines(lit, empty, rough, level, side, MIN_SIDE, touching=self._touching)
        corner = np.array([left, top], np.int32)
        return [tuple(outline + corner for outline in part) for part in found]

    def _compared(
        self, reduced: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a small picture in the empty scene's light, (h, w, 3), and how far it is from it.

        The latter is float32 (h, w), grey levels.
        """
        self._gain, fits = _gain(reduced, self._reference, self._gain)
        self._unlike = 0 if fits else self._unlike + 1
        lit: NDArray[np.float32] = require("cv2").LUT(reduced, self._light())
        return lit, largest(lit, self._reference)

    def _light(self) -> NDArray[np.float32]:
        """Return what each grey level of a frame is in the empty scene's light: (256, 1, 3)."""
        return _LEVELS / self._gain

    def _follow(self, lit: NDArray[np.float32], mask: NDArray[Any], occupied: bool) -> None:
        """Let the empty scene follow what is seen of it; slowly, and nowhere near a part."""
        cv2 = require("cv2")
        share = _FOLLOW / 5 if occupied else _FOLLOW
        near = mask.astype(np.uint8)
        if occupied:
            near = cv2.dilate(near, np.ones((15, 15), np.uint8))
        cv2.accumulateWeighted(lit, self._reference, share, 1 - near)

    def _resized(self, image: Image) -> Image:
        """Return the image at the size that outlines are drawn at: uint8 (h, w, 3)."""
        resized: Image = require("cv2").resize(image, self._fine, interpolation=3)
        return resized

    def _reduced(self, fine: Image) -> Image:
        """Return the image small and blurred: uint8 (h, w, 3)."""
        cv2 = require("cv2")
        small = cv2.resize(fine, self._small, interpolation=cv2.INTER_AREA)
        reduced: Image = cv2.GaussianBlur(small, (0, 0), 1.4)
        return reduced


def _fine_size(width: int, height: int) -> tuple[int, int]:
    """Return the size to draw outlines at, by a whole divisor, which is quickest; even."""
    factor = max(1, round(min(width, height) / (FINE * _WORK_SIDE)))
    return tuple(max(FINE, side // factor // FINE * FINE) for side in (width, height))  # type: ignore[return-value]


def _ring(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return some of the border's pixels, float32 (channels, n)."""
    k = _BORDER
    parts = [image[:k:2, ::2], image[-k::2, ::2], image[k:-k:2, :k:2], image[k:-k:2, -k::2]]
    border = np.concatenate([part.reshape(-1, image.shape[-1]) for part in parts])
    return np.ascontiguousarray(border.T, np.float32)


def _gain(
    now: NDArray[np.uint8], empty: NDArray[np.float32], last: NDArray[np.float32]
) -> tuple[NDArray[np.float32], bool]:
    """Return by which factor each channel is brighter than the empty scene, float32 (3,).

    Of the factors that the border suggests (its median, its quarters, the last one, none at all),
    the one in which most of the border looks as it did; and whether enough of it does.
    """
    border, reference = np.maximum(_ring(now), 1.0), np.maximum(_ring(empty), 1.0)
    ratios = border / reference
    ordered = np.sort(ratios, axis=1)
    picks = [int(q * (ordered.shape[1] - 1)) for q in (0.5, 0.25, 0.75, 0.1, 0.9)]
    candidates = np.concatenate([ordered[:, picks].T, last[None], np.ones((1, 3), np.float32)])
    candidates = candidates.clip(*_GAIN_RANGE)
    errors = np.abs(border / candidates[:, :, None] - reference).max(axis=1)
    agreeing = errors < _MIN_DIFFERENCE
    best = agreeing[int(agreeing.sum(axis=1).argmax())]
    if best.sum() < 16:  # the border shows nothing of the empty scene
        return last, False
    found = np.median(ratios[:, best], axis=1).clip(*_GAIN_RANGE).astype(np.float32)
    return found, bool(best.mean() >= _FITS)


def _noise(difference: NDArray[np.float32]) -> float:
    """Return the level above which a difference is one: from the border's calm part."""
    border = np.sort(_ring(difference[:, :, None])[0])
    calm = border[: max(1, int(0.6 * len(border)))]
    return max(_MIN_DIFFERENCE, 6.0 * float(calm[len(calm) // 2]))


def _found(part: Outlines, size: tuple[int, int], scale: tuple[float, float]) -> Found:
    box = box_of(part)
    low, right, bottom = FINE * _EDGE, size[0] - FINE * _EDGE, size[1] - FINE * _EDGE
    inside = box[0] >= low and box[1] >= low and box[2] <= right and box[3] <= bottom
    x0, x1 = (round(edge * scale[0]) for edge in (box[0], box[2]))
    y0, y1 = (round(edge * scale[1]) for edge in (box[1], box[3]))
    factor = np.array(scale)
    larger = (np.rint((line + 0.5) * factor - 0.5).astype(np.int32) for line in part)
    return Found((x0, y0, x1, y1), inside, outlines=tuple(larger))


def _place(found: Found) -> Box:
    return found.box


def crop_around(image: Image, box: Box, margin: float = MARGIN) -> Image:
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


def square_around(size: tuple[int, int], box: Box, margin: float = MARGIN) -> Box:
    """Return the square that `crop_around` cuts out of an image of `size` (width, height)."""
    width, height = size
    side = max(box[2] - box[0], box[3] - box[1]) * margin
    side = max(1, min(round(side), height, width))
    x = min(max((box[0] + box[2] - side) // 2, 0), width - side)
    y = min(max((box[1] + box[3] - side) // 2, 0), height - side)
    return x, y, x + side, y + side

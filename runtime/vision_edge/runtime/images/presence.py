"""Presence: which parts are under the camera, where, and is all of each in view?

The empty scene is learned from one picture of it, and follows it as light and dirt change. A frame
is compared after both are blurred, so that belt texture does not count, and after its brightness is
matched to the empty scene's. The match is made where the empty scene is still to be seen: a part
that is wholly in view touches no border, so the border shows the belt however large the part is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import require

Box = tuple[int, int, int, int]
"""Pixel rectangle (x0, y0, x1, y1), the right and lower edges excluded."""

_WORK_SIDE = 160
"""Pixels of the shorter side that scenes are compared at; up to half as many more."""
MIN_SIDE = 0.033
"""A part's least side, as a share of the view's shorter side. Tested from 0.05 to 0.95."""
_LARGE, _SMALL_STANDS_OUT = 0.3, 3.0
"""A part of `_LARGE` of the view's side need but differ; one of a third of that, three times so."""
_MIN_DIFFERENCE = 14.0
"""Grey levels that count as a difference, in a scene whose own changes are smaller."""
_BORDER = 5
"""Width of the border whose brightness is matched, in reduced pixels."""
_GAIN_RANGE = (0.5, 2.0)
"""How much darker or brighter the light may become; beyond, it is a new empty scene."""
_EDGE = 3
"""Reduced pixels from the border within which a part may go on outside: the blur's width."""
_MARGIN = 1.3
_NECK = 0.72
"""Two parts touch where the outline narrows to less than this share of the thinner one's width."""
_CONVEX = 0.93
"""Share of its hull that a single part fills at least, to be left whole without a look."""
_FOLLOW = 0.05
"""Share of a new look at the empty scene that is mixed into what is known of it."""


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
        self._size = _reduced_size(empty.shape[1], empty.shape[0])
        self._reference = self._reduced(empty)
        self._gain = np.ones(3, np.float32)

    def find(self, image: Image) -> Found | None:
        """Find what is in an image of the same scene.

        Args:
            image: uint8 (H, W, 3), BGR, of the empty scene's view; of another size it is scaled.

        Returns:
            The largest thing that is wholly in view, or else the largest; None in an empty scene.
        """
        found = self.find_all(image)
        whole = [one for one in found if one.complete]
        return max(whole or found, key=lambda one: _area(one.box), default=None)

    def find_all(self, image: Image) -> list[Found]:
        """Find everything in an image of the same scene, from left to right.

        Parts that touch are taken apart where their outline has a neck. Parts that lie upon each
        other, or side by side along a straight edge, are found as one.

        Args:
            image: uint8 (H, W, 3), BGR, of the empty scene's view; of another size it is scaled.
        """
        cv2 = require("cv2")
        reduced = self._reduced(image)
        difference = self._difference(reduced)
        level = _noise(difference)
        mask = _solid(cv2, difference, level)
        boxes = _boxes(cv2, mask, difference, level)
        height, width = mask.shape
        scale = (image.shape[1] / width, image.shape[0] / height)
        found = [_found(box, (width, height), scale) for box in sorted(boxes)]
        self._follow(reduced, mask, bool(boxes))
        return found

    def _difference(self, reduced: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far each pixel is from the empty scene in this light: float32 (h, w)."""
        self._gain = _gain(reduced, self._reference, self._gain)
        blue, green, red = require("cv2").split(np.abs(reduced / self._gain - self._reference))
        difference: NDArray[np.float32] = np.maximum(np.maximum(blue, green), red)
        return difference

    def _follow(
        self, reduced: NDArray[np.float32], mask: NDArray[np.uint8], occupied: bool
    ) -> None:
        """Let the empty scene follow what is seen of it; slowly, and nowhere near a part."""
        share = np.float32(_FOLLOW / 5 if occupied else _FOLLOW)
        cv2 = require("cv2")
        near = cv2.dilate(mask, np.ones((15, 15), np.uint8)) if occupied else mask
        seen = (near == 0)[:, :, None] * share
        self._reference += seen * (reduced / self._gain - self._reference)

    def _reduced(self, image: Image) -> NDArray[np.float32]:
        """Return the image small and blurred: float32 (h, w, 3)."""
        cv2 = require("cv2")
        small = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        reduced: NDArray[np.float32] = cv2.GaussianBlur(small, (0, 0), 1.6).astype(np.float32)
        return reduced


def _reduced_size(width: int, height: int) -> tuple[int, int]:
    """Return the size to compare at; a whole divisor where there is one, which is quickest."""
    factor = min(width, height) // _WORK_SIDE
    if factor >= 2:
        return width // factor, height // factor
    scale = _WORK_SIDE / min(width, height)
    return round(width * scale), round(height * scale)


def _ring(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the border's pixels, (n, channels)."""
    k = _BORDER
    parts = [image[:k:2], image[-k::2], image[k:-k:2, :k], image[k:-k:2, -k:]]
    return np.concatenate([part.reshape(-1, image.shape[-1]) for part in parts])


def _gain(
    now: NDArray[np.float32], empty: NDArray[np.float32], last: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return by which factor each channel is brighter than the empty scene: float32 (3,).

    Of the factors that the border suggests (its median, its quarters, the last one, none at all),
    the one in which most of the border looks as it did.
    """
    border, reference = _ring(now), np.maximum(_ring(empty), 1.0)
    ratios = np.maximum(border, 1.0) / reference
    candidates = np.concatenate(
        [np.quantile(ratios, (0.5, 0.25, 0.75, 0.1, 0.9), axis=0), last[None], np.ones((1, 3))]
    )
    candidates = candidates.clip(*_GAIN_RANGE)
    errors = np.abs(border[None] / candidates[:, None] - reference[None]).max(axis=2)
    agreeing = (errors < _MIN_DIFFERENCE).sum(axis=1)
    best = candidates[int(agreeing.argmax())]
    inside = np.abs(border / best - reference).max(axis=1) < _MIN_DIFFERENCE
    if inside.sum() < 16:  # the border shows nothing of the empty scene
        return last
    found: NDArray[np.float32] = np.median(ratios[inside], axis=0).clip(*_GAIN_RANGE)
    return found.astype(np.float32)


def _noise(difference: NDArray[np.float32]) -> float:
    """Return the level above which a difference is one: from the border's calm part."""
    border = _ring(difference[:, :, None])[:, 0]
    calm = border[border <= np.quantile(border, 0.6)]
    return max(_MIN_DIFFERENCE, 6.0 * float(np.median(calm)))


def _solid(cv2: Any, difference: NDArray[np.float32], level: float) -> NDArray[np.uint8]:
    """Return what differs, without thin seams and with small holes closed: uint8 (h, w), 0 or 1."""
    mask = (difference > level).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)
    edge = cv2.copyMakeBorder(opened, 4, 4, 4, 4, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(edge, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))[4:-4, 4:-4]
    solid: NDArray[np.uint8] = _filled(cv2, closed)
    return solid


def _filled(cv2: Any, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill the holes: a ring's middle, or a part's middle that has the belt's colour."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled: NDArray[np.uint8] = cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED)
    return filled


def _boxes(
    cv2: Any, mask: NDArray[np.uint8], difference: NDArray[np.float32], level: float
) -> list[Box]:
    """Return the box of each part; pieces of one part whose boxes overlap are one.

    The smaller a piece, the more it must stand out: a belt has small marks of its own.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    least = (MIN_SIDE * min(mask.shape)) ** 2
    groups = _joined([stats[label] for label in range(1, count)], least)
    boxes: list[Box] = []
    for group in groups:
        piece = np.isin(labels, [label + 1 for label in group]).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(piece)
        inside = np.s_[y : y + height, x : x + width]
        piece, near = piece[inside], difference[inside]
        strength = float(np.quantile(near[piece > 0], 0.9))
        share = float(np.sqrt(piece.sum())) / min(mask.shape)
        if strength < level * min(_SMALL_STANDS_OUT, max(1.0, _LARGE / share)):
            continue
        for part in _taken_apart(cv2, piece, near, least):
            left, top, w, h = cv2.boundingRect(part)
            if part.sum() >= least:
                boxes.append((x + left, y + top, x + left + w, y + top + h))
    return boxes


def _joined(stats: Sequence[NDArray[np.int32]], least: float) -> list[list[int]]:
    """Group components whose boxes overlap, around each large one: a part that shade divides."""
    order = sorted(range(len(stats)), key=lambda k: -int(stats[k][4]))
    groups: list[list[int]] = []
    taken: set[int] = set()
    for first in order:
        if first in taken or stats[first][4] < least:
            continue
        box = _box_of(stats[first])
        free = [other for other in order if other not in taken]
        group = [other for other in free if _area(_common(box, _box_of(stats[other])))]
        taken.update(group)
        groups.append(group)
    return groups


def _taken_apart(
    cv2: Any, piece: NDArray[np.uint8], difference: NDArray[np.float32], least: float
) -> list[NDArray[np.uint8]]:
    """Return the outline of each part of one component, cut at its necks.

    The outline is drawn where the difference is half of what it is nearby, since blur widens parts
    and fills the gap between two. The distance to it has a peak in the middle of each part: two
    peaks are two parts if the ridge between them falls below `_NECK` of the lower one.
    """
    near = cv2.dilate(difference, np.ones((9, 9), np.uint8))
    sharp = _filled(cv2, ((difference > 0.5 * near) & (piece > 0)).astype(np.uint8))
    if _is_convex(cv2, piece):
        return [sharp]
    distance = cv2.distanceTransform(cv2.copyMakeBorder(sharp, 1, 1, 1, 1, 0), cv2.DIST_L2, 3)
    cores = _cores(cv2, distance[1:-1, 1:-1])
    count = int(cores.max())
    if count < 2:
        return [sharp]
    kind = cv2.DIST_LABEL_CCOMP
    _, nearest = cv2.distanceTransformWithLabels(
        (cores == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=kind
    )
    parts = [((nearest == label) & (sharp > 0)).astype(np.uint8) for label in range(1, count + 1)]
    return parts if _are_parts(cv2, parts, least) else [sharp]


def _are_parts(cv2: Any, parts: Sequence[NDArray[np.uint8]], least: float) -> bool:
    """Whether pieces are whole parts that touch, and not the limbs of one: alike and compact."""
    areas = [float(part.sum()) for part in parts]
    alike = min(areas) >= max(least, max(areas) / 3)
    return alike and all(_is_convex(cv2, part) for part in parts)


def _is_convex(cv2: Any, piece: NDArray[np.uint8]) -> bool:
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    return bool(piece.sum() >= _CONVEX * hull)


def _cores(cv2: Any, distance: NDArray[np.float32]) -> NDArray[np.int32]:
    """Label the middle of each part, 1 and up: int32 (h, w).

    From the highest level down: a region of the distance above a level is a core of its own if
    its peak stands out by `_NECK` from where it meets a higher one.
    """
    cores = np.zeros(distance.shape, np.int32)
    found = 0
    for level in np.geomspace(max(1.5, float(distance.max())), 1.5, 16):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((distance >= level).astype(np.uint8))
        for label, (x, y, width, height, _) in enumerate(stats[1:], 1):
            inside = np.s_[y : y + height, x : x + width]
            region = labels[inside] == label
            peak = float(distance[inside][region].max())
            if level > _NECK * peak or cores[inside][region].any():
                continue
            found += 1
            cores[inside][region] = found
    return cores


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _common(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _box_of(stats: NDArray[np.int32]) -> Box:
    x, y, width, height = (int(value) for value in stats[:4])
    return x, y, x + width, y + height


def _found(box: Box, size: tuple[int, int], scale: tuple[float, float]) -> Found:
    low, right, bottom = _EDGE, size[0] - _EDGE, size[1] - _EDGE
    inside = box[0] >= low and box[1] >= low and box[2] <= right and box[3] <= bottom
    x0, x1 = (round(edge * scale[0]) for edge in (box[0], box[2]))
    y0, y1 = (round(edge * scale[1]) for edge in (box[1], box[3]))
    return Found((x0, y0, x1, y1), inside)


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

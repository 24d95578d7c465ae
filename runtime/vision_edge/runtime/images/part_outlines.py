"""From how a picture differs from the empty scene to the outline of each part in it.

Twice: on a small picture, where belt texture does not count, to know where something is; and on a
larger one around it, to draw its outline and to see the gap between two parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.errors import require
from vision_edge.runtime.images.outline_levels import (
    edge_along,
    edges_in,
    enclosed,
    histogram,
    level_of,
)
from vision_edge.runtime.images.shadows import SHARP, Shadows, may_be_shade
from vision_edge.runtime.images.touching import FULL, Ground, Outline, fullness, taken_apart

Box = tuple[int, int, int, int]
"""Pixel rectangle (x0, y0, x1, y1), the right and lower edges excluded."""
Outlines = tuple[Outline, ...]
"""A part's outlines: one, or more where shade divides it."""
Difference = NDArray[np.float32]
Level = TypeVar("Level", np.float32, np.uint8)

FINE = 2
"""How much finer the larger picture is."""
_LARGE, _STRONG, _STANDS_OUT = 0.3, 3.0, 1.3
"""A part of `_LARGE` of the view's side need but differ. A smaller one must do so by `_STRONG`
levels; or by `_STANDS_OUT`, and its outline be `SHARP` times as much of an edge as the belt around
it: marks of a belt, which it carries to where its picture shows none, are soft (stains have 1.8
at most, small parts 2.4 and more)."""
_WITHIN, _SCRAP, _SCRAP_WITHIN = 0.7, 0.1, 0.3
"""A piece belongs to a larger one if so much of its box lies in that one's. One of less than
`_SCRAP` of its pixels does so with less, and does not widen it."""
_NEAR = 0.45
"""What may be shade counts only if it differs by so much of the largest difference nearby: the
shade of a part is no part of it, and fills the gap between two."""
_NEARBY = np.ceil(_NEAR * np.arange(256)).astype(np.uint8)
_TENTH = 0.9


def least_pixels(side: int, least_side: float) -> float:
    """Return the pixels of the smallest part: a narrow one, half as wide as a square would be."""
    return (0.5 * least_side * side) ** 2


def regions(difference: Difference, level: float, least_side: float) -> list[Box]:
    """Return where something is, on the small picture: one box for parts that are near each other.

    Args:
        difference: float32 (h, w), grey levels.
        level: From which on it counts.
        least_side: Longer side of the smallest part, as a share of the view's shorter side.
    """
    cv2 = require("cv2")
    mask = _solid(cv2, difference, level)
    side = min(mask.shape)
    least = least_pixels(side, least_side)
    found = []
    for outline in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        box = _box(cv2, outline)
        if max(box[2] - box[0], box[3] - box[1]) < 0.7 * least_side * side:
            continue
        where, inside = enclosed(cv2, outline)
        values = difference[where][(inside & mask[where]) > 0]
        if len(values) < least / 2:
            continue
        if _upper(values) >= level * (_STANDS_OUT if len(values) < (_LARGE * side) ** 2 else 1.0):
            found.append(box)
    return _merged(found)


def outlines(
    picture: NDArray[np.uint8],
    empty: NDArray[np.uint8],
    rough: NDArray[np.uint8],
    level: float,
    side: int,
    least_side: float,
    *,
    touching: bool = True,
) -> list[Outlines]:
    """Return the outlines of each part in one region of the larger picture.

    Args:
        picture: uint8 (h, w, 3), BGR, in the light of the empty scene: the region.
        empty: uint8 (h, w, 3): the empty scene there.
        rough: uint8 (h, w), 1 where the small picture has something.
        level: Grey levels from which on a difference counts.
        side: The larger picture's shorter side.
        least_side: Longer side of the smallest part, as a share of it.
        touching: Whether parts that touch are taken apart.
    """
    cv2 = require("cv2")
    difference = largest(picture, empty)
    shade = may_be_shade(cv2, picture, empty)
    sharp = _sharp(cv2, shade, difference, level) & rough
    longest = least_side * side
    found = _drawn(cv2, sharp, longest)
    if not found:
        return []
    ground = Ground(picture, edges_in(cv2, picture))
    around = level_of(histogram(cv2, ground.edges, 1 - rough), 0.5)
    shadows = Shadows(picture, empty, ground.edges, around)
    lights = [shadows.light_in(cv2, outline) for outline in found]
    dim = [outline for outline, light in zip(found, lights, strict=True) if light is not None]
    if dim:
        least_light = min(light for light in lights if light is not None)
        found = _drawn(cv2, shadows.without(cv2, sharp, dim, least_light), longest)

    def is_part(outline: Outline) -> bool:
        return _is_part(cv2, outline, ground, difference, level, side, around)

    found = [outline for outline in found if is_part(outline)]
    areas = [float(cv2.contourArea(outline)) for outline in found]
    least = least_pixels(side, least_side)
    groups = _joined([_box(cv2, outline) for outline in found], areas, least)
    parts: list[Outlines] = []
    for group in groups:
        pieces = [found[group[0]]]
        if touching and fullness(pieces[0]) < FULL:
            pieces = taken_apart(pieces[0], ground, least)
        if len(pieces) == 1:
            parts.append(tuple(found[k] for k in group))
        else:  # a mark beside a part may have been taken off it
            parts += [(piece,) for piece in pieces if is_part(piece)]
    return parts


def _drawn(cv2: Any, mask: NDArray[np.uint8], longest: float) -> list[Outline]:
    """Return the outlines in a mask, without thin seams, of those that are long enough."""
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(2, (3, 3)))
    edge = cv2.copyMakeBorder(opened, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    solid = cv2.morphologyEx(edge, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))[2:-2, 2:-2]
    found, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [outline for outline in found if max(cv2.boundingRect(outline)[2:]) >= longest]


def _sharp(
    cv2: Any, shade: NDArray[np.uint8], difference: NDArray[np.uint8], level: float
) -> NDArray[np.uint8]:
    """Return what differs and is no part's shade: uint8 (h, w), 0 or 1."""
    near = cv2.LUT(cv2.dilate(difference, np.ones((15, 15), np.uint8)), _NEARBY)
    faint = shade & cv2.compare(difference, near, cv2.CMP_LT)
    _, differs = cv2.threshold(difference, level, 1, cv2.THRESH_BINARY)
    sharp: NDArray[np.uint8] = differs & ~faint
    return sharp


def largest(a: NDArray[Level], b: NDArray[Level]) -> NDArray[Level]:
    """Return how far two pictures are apart in the channel where they are furthest: (h, w)."""
    cv2 = require("cv2")
    blue, green, red = cv2.split(cv2.absdiff(a, b))
    found: NDArray[Level] = cv2.max(cv2.max(blue, green), red)
    return found


def box_of(outlines: Outlines) -> Box:
    """Return the box around a part's outlines."""
    return _box(require("cv2"), np.concatenate(outlines))


def _box(cv2: Any, outline: Outline) -> Box:
    x, y, width, height = cv2.boundingRect(outline)
    return x, y, x + width, y + height


def _solid(cv2: Any, difference: Difference, level: float) -> NDArray[np.uint8]:
    """Return what differs, without thin seams and with small holes closed: uint8 (h, w), 0 or 1."""
    mask = (difference > level).astype(np.uint8)
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    edge = cv2.copyMakeBorder(opened, 3, 3, 3, 3, cv2.BORDER_REPLICATE)
    solid: NDArray[np.uint8] = cv2.morphologyEx(edge, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return np.ascontiguousarray(solid[3:-3, 3:-3])


def _joined(boxes: Sequence[Box], areas: Sequence[float], least: float) -> list[list[int]]:
    """Group pieces of which one lies within another's box: a part that shade divides."""
    order = sorted(range(len(boxes)), key=lambda k: -areas[k])
    groups: list[list[int]] = []
    taken: set[int] = set()
    for first in order:
        if first in taken or areas[first] < least:
            continue
        group = [first]
        for k in order:
            if k in taken or k == first:
                continue
            share = area(common(boxes[k], boxes[first])) / max(area(boxes[k]), 1)
            if share >= _WITHIN:
                group.append(k)
            elif share >= _SCRAP_WITHIN and areas[k] < _SCRAP * areas[first]:
                taken.add(k)
        taken.update(group)
        groups.append(group)
    return groups


def _merged(boxes: list[Box]) -> list[Box]:
    """Return the boxes with those that overlap made one, until none does."""
    found: list[Box] = []
    for box in boxes:
        while True:
            over = [other for other in found if area(common(box, other))]
            if not over:
                break
            found = [other for other in found if other not in over]
            for x0, y0, x1, y1 in over:
                box = (min(box[0], x0), min(box[1], y0), max(box[2], x1), max(box[3], y1))
        found.append(box)
    return found


def _is_part(
    cv2: Any,
    outline: Outline,
    ground: Ground,
    difference: NDArray[np.uint8],
    level: float,
    side: int,
    around: float,
) -> bool:
    """Whether what an outline encloses stands out enough for its size, and has an edge."""
    where, inside = enclosed(cv2, outline)
    counts = histogram(cv2, difference[where], inside)
    upper = level_of(counts, _TENTH)
    if counts.sum() >= (_LARGE * side) ** 2 or upper >= _STRONG * level:
        return True
    return upper >= _STANDS_OUT * level and edge_along(ground.edges, outline) >= SHARP * around


def _upper(values: NDArray[Any]) -> float:
    """Return the value that a tenth exceeds."""
    k = int(_TENTH * (len(values) - 1))
    return float(np.partition(values, k)[k])


def area(box: Box) -> int:
    """Return a box's pixels."""
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def common(a: Box, b: Box) -> Box:
    """Return what two boxes have in common; it may be empty."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])

"""Parts that touch, taken apart: one outline becomes several where it is cut well.

Where two parts meet, the outline of both together has a corner that points inwards, mostly one on
each side. A cut is a straight line from such a corner, to another or to the outline across. What
speaks for it (it is short, runs along an edge, parts unlike colours, leaves full shapes) is weighed
by a network of eight hidden units, whose weights `benchmarks/touching_weights.py` found on products
of a train split and on rendered machine parts.

The idea is that of splitting blobs at concave points (Bai, Sun and Zhou, "Splitting touching cells
based on concave points and ellipse fitting", Pattern Recognition 42, 2009); weighing cuts instead
of fitting ellipses is ours, since parts have any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.errors import require
from vision_edge.runtime.images.touching_weights import BIAS, CONSTANT, HIDDEN, OUT

Outline = NDArray[np.int32]
"""A closed outline: int32 (n, 1, 2), x and y in pixels."""

FULL = 0.945
"""A shape that fills so much of its hull is left whole without a look."""
_DEPTH = 0.03
"""How deep a corner points inwards at least, in square roots of the area."""
_LONG = 1.7
"""A cut of so many square roots of the lesser area is none."""
_STRIP = 5.0
"""How far beside a cut the colours of its sides are taken, in pixels."""
_POINTS, _CORNERS, _CUTS, _SAMPLES = 120, 10, 16, 30
"""Points, corners and cuts of an outline that are looked at, and points of a cut, at most."""
FEATURES = (
    "length", "neck", "edge", "gain", "least full", "most full", "alike", "detour", "colour",
    "whole full", "edge against inside", "lesser notch", "greater notch",
)  # fmt: skip
"""What speaks for a cut: its length in square roots of the lesser area, and in the lesser width;
the share of it that is an edge; how much fuller the pieces are, and how full; how alike their areas
are; its length by the way around; how unlike the colours beside it are; how full the whole is; how
much more of an edge it is than what lies beside it; how far its ends point inwards."""


@dataclass(frozen=True)
class Cut:
    """A line across an outline.

    Attributes:
        features: float64 (13,), what speaks for it; see `FEATURES`.
        pieces: What it leaves.
    """

    features: NDArray[np.float64]
    pieces: tuple[Outline, Outline]

    @property
    def worth(self) -> float:
        """The log-odds that it lies between two parts."""
        return float(OUT @ np.tanh(HIDDEN @ self.features + BIAS)) + CONSTANT


@dataclass(frozen=True)
class Ground:
    """The picture that outlines lie in.

    Attributes:
        picture: float32 (h, w, 3), BGR.
        edges: float32 (h, w), how strongly it changes at each pixel: 1 is an edge.
    """

    picture: NDArray[np.float32]
    edges: NDArray[np.float32]


def taken_apart(outline: Outline, ground: Ground, least: float) -> list[Outline]:
    """Return the outline of each part in an outline of one or several that touch.

    Args:
        outline: Of a region without holes.
        ground: The picture that it lies in.
        least: Pixels of the smallest part.
    """
    waiting, parts = [outline], []
    while waiting:
        shape = waiting.pop()
        cuts = [cut for cut in possible_cuts(shape, ground, least) if cut.worth > 0]
        if cuts:
            waiting += max(cuts, key=lambda cut: cut.worth).pieces
        else:
            parts.append(shape)
    return parts


def possible_cuts(outline: Outline, ground: Ground, least: float) -> list[Cut]:
    """Return the cuts that an outline offers, those that save most of the way around; at most 16.

    Args:
        outline: Of a region without holes.
        ground: The picture that it lies in.
        least: Pixels of the smallest part.
    """
    cv2 = require("cv2")
    area = float(cv2.contourArea(outline))
    full = fullness(outline)
    if full >= FULL or area < 2 * least or len(outline) < 12:
        return []
    fewer = np.ascontiguousarray(outline[:: max(1, len(outline) // _POINTS)])
    way = _Way(fewer)
    pairs = np.array(_pairs(fewer, _corners(cv2, fewer, way, area)), np.intp).reshape(-1, 2)
    lengths, arcs, lesser = way.measured(pairs)
    good = (lesser >= least) & (lengths <= _LONG * np.sqrt(np.maximum(lesser, 0.0)))
    pairs, lengths, arcs = pairs[good], lengths[good], arcs[good]
    first = np.argsort(lengths / arcs)[:_CUTS]
    sides = _sides(ground, fewer[pairs[first, 0], 0], fewer[pairs[first, 1], 0])
    notches = np.sort(np.stack([way.notches(pairs[first, k]) for k in (0, 1)]), axis=0)
    found = []
    for k, index in enumerate(first):
        low, high = pairs[index]
        pieces = fewer[low : high + 1], np.concatenate([fewer[high:], fewer[: low + 1]])
        shape = _shape(cv2, pieces, float(lengths[index]), full)
        if shape is not None:
            edge, against, colour = (float(side[k]) for side in sides)
            length, neck, gain, least_full, most_full, alike = shape
            detour = float(lengths[index] / max(arcs[index], 1.0))
            features = [length, neck, edge, gain, least_full, most_full, alike, detour, colour]
            features += [full, against, float(notches[0, k]), float(notches[1, k])]
            found.append(Cut(np.array(features), pieces))
    return found


class _Way:
    """The way around an outline, with what is added up along it.

    Args:
        outline: Closed, int32 (n, 1, 2).
    """

    def __init__(self, outline: Outline) -> None:
        self.points = outline[:, 0].astype(np.float64)
        after = np.roll(self.points, -1, axis=0)
        steps = self.points[:, 0] * after[:, 1] - after[:, 0] * self.points[:, 1]
        self._shoelace = np.concatenate([[0.0], np.cumsum(steps)])
        self.positive = bool(steps.sum() > 0)
        lengths = np.sqrt(np.square(after - self.points).sum(1))
        self._arc = np.concatenate([[0.0], np.cumsum(lengths)])

    def measured(
        self, pairs: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return each cut's length, its shorter way around, and its lesser piece's area.

        An area is below 0 where the cut runs outside.
        """
        low, high = pairs[:, 0], pairs[:, 1]
        a, b = self.points[low], self.points[high]
        first = self._shoelace[high] - self._shoelace[low] + b[:, 0] * a[:, 1] - a[:, 0] * b[:, 1]
        total = float(self._shoelace[-1])
        sign = 0.5 if total > 0 else -0.5
        arc = self._arc[high] - self._arc[low]
        lesser = np.minimum(sign * first, sign * (total - first))
        return np.sqrt(np.square(a - b).sum(1)), np.minimum(arc, self._arc[-1] - arc), lesser

    def notches(self, at: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how far it turns inwards at points: 0 is straight, 1 back, below 0 outwards."""
        step, count = max(2, len(self.points) // 30), len(self.points)
        before = self.points[at - step] - self.points[at]
        after = self.points[(at + step) % count] - self.points[at]
        cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
        angle = np.arctan2(cross, (before * after).sum(1))
        turned = angle if self.positive else -angle
        notches: NDArray[np.float64] = np.where(
            turned > 0, 1 - turned / np.pi, -(1 + turned / np.pi)
        )
        return notches


def fullness(outline: Outline) -> float:
    """Return which share of its convex hull an outline encloses, 0 to 1."""
    cv2 = require("cv2")
    hull = float(cv2.contourArea(cv2.convexHull(outline)))
    return float(cv2.contourArea(outline)) / max(hull, 1.0)


def _corners(cv2: Any, outline: Outline, way: _Way, area: float) -> list[int]:
    """Return where the outline points inwards, by index, the deepest first."""
    hull = cv2.convexHull(outline, returnPoints=False)
    hull = np.sort(hull.reshape(-1, 1), axis=0)[::-1].copy()  # in order, or OpenCV refuses it
    try:
        defects = cv2.convexityDefects(outline, hull)
    except cv2.error:  # an outline that crosses itself
        return []
    if defects is None:
        return []
    least = max(1.5, _DEPTH * area**0.5)
    bays = [(depth / 256, int(point)) for _, _, point, depth in defects.reshape(-1, 4)]
    deep = sorted((bay for bay in bays if bay[0] >= least), reverse=True)
    first = [point for _, point in deep[:_CORNERS]]
    return first + _inner_corners(way, first)


def _inner_corners(way: _Way, known: list[int]) -> list[int]:
    """Return sharp inward corners besides the deepest of each bay: where two parts meet in one."""
    points = way.points
    step = max(2, len(points) // 40)
    before, after = np.roll(points, step, 0) - points, np.roll(points, -step, 0) - points
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turn = np.arctan2(cross, (before * after).sum(1))
    inward = turn if way.positive else -turn
    angle = np.where(inward > 0, inward, np.pi)
    found: list[int] = []
    for index in np.argsort(angle).tolist():
        if angle[index] > 2.2 or len(found) >= _CORNERS:
            break
        if all(_around(len(points), index, other) > step for other in found + known):
            found.append(index)
    return found


def _around(length: int, a: int, b: int) -> int:
    return min((a - b) % length, (b - a) % length)


def _pairs(outline: Outline, corners: list[int]) -> list[tuple[int, int]]:
    """Return the ends of possible cuts: between corners, and from each straight across."""
    points = outline[:, 0].astype(np.float64)
    length = len(points)
    found = {(a, b) for k, a in enumerate(corners) for b in corners[k + 1 :]}
    for start in corners:
        away = np.abs((np.arange(length) - start + length // 2) % length - length // 2)
        distance = np.sqrt(np.square(points - points[start]).sum(1))
        distance[away <= length // 10] = np.inf
        found |= {(start, int(distance.argmin())), (start, int((distance / (away + 1)).argmin()))}
    ordered = {(min(pair), max(pair)) for pair in found}
    return sorted((a, b) for a, b in ordered if b - a >= 3 and length - (b - a) >= 3)


def _shape(
    cv2: Any, pieces: tuple[Outline, Outline], length: float, full: float
) -> tuple[float, float, float, float, float, float] | None:
    """Return what a cut's pieces say for it; None where it makes nothing fuller."""
    areas = [float(cv2.contourArea(piece)) for piece in pieces]
    fulls = [fullness(piece) for piece in pieces]
    gain = (areas[0] * fulls[0] + areas[1] * fulls[1]) / max(sum(areas), 1.0) - full
    if gain <= 0 or min(areas) <= 0:
        return None
    width = max(1.0, min(min(cv2.minAreaRect(piece)[1]) for piece in pieces))
    alike = (min(areas) / max(areas)) ** 0.5
    return length / min(areas) ** 0.5, length / width, gain, min(fulls), max(fulls), alike


def _sides(
    ground: Ground, a: NDArray[np.int32], b: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how much of lines is an edge, how much more than beside them, how unlike colours are.

    The colours are those of both sides.

    Args:
        ground: The picture.
        a: int32 (n, 2), where the lines begin.
        b: int32 (n, 2), where they end.
    """
    height, width = ground.edges.shape
    along = (b - a).astype(np.float64)
    length = np.maximum(np.sqrt(np.square(along).sum(1, keepdims=True)), 1.0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / length
    steps = np.linspace(0.0, 1.0, _SAMPLES)[:, None, None]
    offsets = _STRIP * np.array([0, 1, -1, 2, -2, 3, -3])[:, None, None, None]
    lines = a + steps * along + offsets * across  # (7, samples, n, 2)
    x = np.rint(lines[..., 0]).astype(int).clip(0, width - 1)
    y = np.rint(lines[..., 1]).astype(int).clip(0, height - 1)
    edges = np.minimum(ground.edges[y, x], 1.5).mean(1)
    colours = ground.picture[y[1:5], x[1:5]].mean(1)
    unlike = np.abs(colours[0] + colours[2] - colours[1] - colours[3]).max(-1) / 128
    return edges[0], edges[0] - edges[3:].mean(0), unlike

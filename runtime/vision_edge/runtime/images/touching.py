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
from functools import lru_cache
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
_SHARPEST = 2.2
"""An inward corner besides those is one of so many radians at most."""
_LONG = 1.7
"""A cut of so many square roots of the lesser area is none."""
_STRIP = 5.0
"""How far beside a cut the colours of its sides are taken, in pixels."""
_POINTS, _CORNERS, _CUTS, _SAMPLES = 120, 10, 16, 30
"""Points, corners and cuts of an outline that are looked at, and points of a cut, at most."""
_STEPS = np.linspace(0.0, 1.0, _SAMPLES)[:, None, None]
_OFFSETS = _STRIP * np.array([0, 1, -1, 2, -2, 3, -3])[:, None, None, None]
EDGE_LEVEL = 26.0
"""Grey levels from one side of an edge to the other."""
_EDGE = np.minimum(np.arange(256) / EDGE_LEVEL, 1.5)
"""How much of an edge so many grey levels are: 1 is one."""
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


@dataclass(frozen=True)
class Ground:
    """The picture that outlines lie in.

    Attributes:
        picture: uint8 (h, w, 3), BGR.
        edges: uint8 (h, w), by how many grey levels it changes within two pixels of each pixel.
    """

    picture: NDArray[np.uint8]
    edges: NDArray[np.uint8]


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
        cuts = possible_cuts(shape, ground, least)
        worth = worths(np.stack([cut.features for cut in cuts])) if cuts else np.zeros(1)
        best = int(worth.argmax())
        if worth[best] > 0:
            waiting += cuts[best].pieces
        else:
            parts.append(shape)
    return parts


def worths(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds that cuts lie between two parts, float64 (n,), of features (n, 13)."""
    found: NDArray[np.float64] = np.tanh(features @ HIDDEN.T + BIAS) @ OUT + CONSTANT
    return found


def possible_cuts(outline: Outline, ground: Ground, least: float) -> list[Cut]:
    """Return the cuts that an outline offers, those that save most of the way around; at most 16.

    Args:
        outline: Of a region without holes.
        ground: The picture that it lies in.
        least: Pixels of the smallest part.
    """
    cv2 = require("cv2")
    area = float(cv2.contourArea(outline))
    if area < 2 * least or len(outline) < 12:
        return []
    full = fullness(outline)
    if full >= FULL:
        return []
    fewer = np.ascontiguousarray(outline[:: max(1, len(outline) // _POINTS)])
    way = _Way(fewer)
    pairs = _pairs(way, _corners(cv2, fewer, way, area))
    lengths, arcs, areas = way.measured(pairs)
    lesser = areas.min(axis=0)
    good = (lesser >= least) & (lengths <= _LONG * np.sqrt(np.maximum(lesser, 0.0)))
    order = np.flatnonzero(good)
    order = order[np.argsort(lengths[order] / arcs[order])[:_CUTS]]
    ends, both_areas, length_of = pairs.tolist(), areas.T.tolist(), lengths.tolist()
    kept, shapes, pieces = [], [], []
    for index in order.tolist():
        low, high = ends[index]
        both = fewer[low : high + 1], np.concatenate([fewer[high:], fewer[: low + 1]])
        shape = _shape(cv2, both, both_areas[index], length_of[index], full)
        if shape is not None:
            kept.append(index)
            shapes.append(shape)
            pieces.append(both)
    if not kept:
        return []
    chosen = pairs[kept]
    edge, against, colour = _sides(ground, fewer[chosen[:, 0], 0], fewer[chosen[:, 1], 0])
    detour = lengths[kept] / np.maximum(arcs[kept], 1.0)
    notches = np.sort(way.notches(chosen.T), axis=0)
    span, neck, gain, least_full, most_full, alike = np.array(shapes).T
    whole = np.full(len(kept), full)
    columns = [span, neck, edge, gain, least_full, most_full, alike, detour, colour, whole]
    features = np.stack([*columns, against, notches[0], notches[1]], axis=1)
    return [Cut(row, both) for row, both in zip(features, pieces, strict=True)]


class _Way:
    """The way around an outline, with what is added up along it.

    Args:
        outline: Closed, int32 (n, 1, 2).
    """

    def __init__(self, outline: Outline) -> None:
        self.x, self.y = np.ascontiguousarray(outline[:, 0].T, np.float64)
        after_x, after_y = np.append(self.x[1:], self.x[0]), np.append(self.y[1:], self.y[0])
        self._shoelace = _added_up(self.x * after_y - after_x * self.y)
        self._arc = _added_up(_lengths(after_x - self.x, after_y - self.y))
        self.positive = bool(self._shoelace[-1] > 0)

    def measured(
        self, pairs: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return each cut's length (n,), its shorter way around (n,), its pieces' areas (2, n).

        An area is below 0 where the cut runs outside.
        """
        low, high = pairs[:, 0], pairs[:, 1]
        x, y, to_x, to_y = self.x[low], self.y[low], self.x[high], self.y[high]
        first = self._shoelace[high] - self._shoelace[low] + to_x * y - x * to_y
        total = float(self._shoelace[-1])
        sign = 0.5 if total > 0 else -0.5
        arc = self._arc[high] - self._arc[low]
        areas = np.stack([sign * first, sign * (total - first)])
        return _lengths(to_x - x, to_y - y), np.minimum(arc, self._arc[-1] - arc), areas

    def turns(self, at: NDArray[np.intp], step: int) -> NDArray[np.float64]:
        """Return the angle between the ways to `step` points before and after: inwards above 0."""
        before, after = at - step, (at + step) % len(self.x)
        x, y = self.x[at], self.y[at]
        before_x, before_y = self.x[before] - x, self.y[before] - y
        after_x, after_y = self.x[after] - x, self.y[after] - y
        cross = before_x * after_y - before_y * after_x
        angle: NDArray[np.float64]
        angle = np.arctan2(cross, before_x * after_x + before_y * after_y)
        return angle if self.positive else -angle

    def notches(self, at: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how far it turns inwards at points: 0 is straight, 1 back, below 0 outwards."""
        turned = self.turns(at, max(2, len(self.x) // 30))
        notches: NDArray[np.float64] = np.where(
            turned > 0, 1 - turned / np.pi, -(1 + turned / np.pi)
        )
        return notches


def _added_up(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of the first none, one, two, ... of n values: (n + 1,)."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def _lengths(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(x * x + y * y)
    return lengths


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
    count = len(way.x)
    step = max(2, count // 40)
    inward = way.turns(np.arange(count), step)
    angle = np.where(inward > 0, inward, np.pi)
    found: list[int] = []
    for index in np.argsort(angle).tolist():
        if angle[index] > _SHARPEST or len(found) >= _CORNERS:
            break
        if all(_around(count, index, other) > step for other in found + known):
            found.append(index)
    return found


def _around(length: int, a: int, b: int) -> int:
    return min((a - b) % length, (b - a) % length)


def _pairs(way: _Way, corners: list[int]) -> NDArray[np.intp]:
    """Return the ends of possible cuts (n, 2): between corners, and from each straight across."""
    if not corners:
        return np.zeros((0, 2), np.intp)
    length, starts = len(way.x), np.array(corners, np.intp)
    away = np.abs(np.arange(length) - starts[:, None])
    away = np.minimum(away, length - away)
    distance = _lengths(way.x - way.x[starts, None], way.y - way.y[starts, None])
    distance[away <= length // 10] = np.inf
    across = [distance.argmin(1), (distance / (away + 1)).argmin(1)]
    one, other = _each_two(len(starts))
    a = np.concatenate([starts[one], starts, starts])
    b = np.concatenate([starts[other], *across])
    low, high = np.minimum(a, b), np.maximum(a, b)
    far = (high - low >= 3) & (length - (high - low) >= 3)
    codes = np.unique(low[far] * length + high[far])
    return np.stack([codes // length, codes % length], axis=1)


@lru_cache(maxsize=2 * _CORNERS + 1)
def _each_two(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(count, 1)


def _shape(
    cv2: Any, pieces: tuple[Outline, Outline], areas: list[float], length: float, full: float
) -> tuple[float, float, float, float, float, float] | None:
    """Return what a cut's pieces say for it; None where it makes nothing fuller."""
    hulls = [cv2.convexHull(piece) for piece in pieces]
    first, second = areas
    fulls = [
        area / max(cv2.contourArea(hull), 1.0) for area, hull in zip(areas, hulls, strict=True)
    ]
    gain = (first * fulls[0] + second * fulls[1]) / max(first + second, 1.0) - full
    if gain <= 0:
        return None
    width = max(1.0, min(min(cv2.minAreaRect(hull)[1]) for hull in hulls))
    lesser, greater = min(first, second), max(first, second)
    alike = (lesser / greater) ** 0.5
    return length / lesser**0.5, length / width, gain, min(fulls), max(fulls), alike


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
    lines = a + _STEPS * along + _OFFSETS * across  # (7, samples, n, 2)
    lines = np.rint(lines, out=lines).astype(np.intp)
    x = np.minimum(np.maximum(lines[..., 0], 0), width - 1)
    at = np.minimum(np.maximum(lines[..., 1], 0), height - 1) * width + x
    edges = _EDGE.take(ground.edges.ravel().take(at)).sum(1) / _SAMPLES
    levels = ground.picture.reshape(-1, 3).take(at[1:5], axis=0)
    colours = levels.sum(1, dtype=np.int32)
    unlike = np.abs(colours[0] + colours[2] - colours[1] - colours[3]).max(-1)
    return edges[0], edges[0] - edges[3:].mean(0), unlike / (128 * _SAMPLES)

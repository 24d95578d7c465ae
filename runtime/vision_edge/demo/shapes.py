"""Signed distances and noise: the vocabulary that the part drawings are written in.

A signed distance is negative inside a shape, zero on its outline and positive outside,
in the units of the coordinates given. Formulas: Inigo Quilez, "2D distance functions",
https://iquilezles.org/articles/distfunctions2d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.floating[Any]]
"""One number at every pixel: float32 `(S, S)`."""


def circle(x: Field, y: Field, r: float, cx: float = 0.0, cy: float = 0.0) -> Field:
    """Distance to a disc of radius `r` around `(cx, cy)`."""
    return np.asarray(np.hypot(x - cx, y - cy) - r, np.float32)


def ring(x: Field, y: Field, inner: float, outer: float) -> Field:
    """Distance to the flat ring between two radii around the origin."""
    return np.abs(np.hypot(x, y) - 0.5 * (inner + outer)) - 0.5 * (outer - inner)


def box(
    x: Field,
    y: Field,
    half: tuple[float, float],
    centre: tuple[float, float] = (0.0, 0.0),
    radius: float = 0.0,
) -> Field:
    """Distance to a rectangle with half sizes `half` and corners rounded by `radius`."""
    dx = np.abs(x - centre[0]) - (half[0] - radius)
    dy = np.abs(y - centre[1]) - (half[1] - radius)
    outside = np.hypot(np.maximum(dx, 0.0), np.maximum(dy, 0.0))
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0.0) - radius, np.float32)


def capsule(x: Field, y: Field, a: tuple[float, float], b: tuple[float, float], r: float) -> Field:
    """Distance to a line from `a` to `b` with round ends and radius `r`."""
    ex, ey = b[0] - a[0], b[1] - a[1]
    along = ((x - a[0]) * ex + (y - a[1]) * ey) / max(ex * ex + ey * ey, 1e-9)
    along = np.clip(along, 0.0, 1.0)
    return np.hypot(x - a[0] - along * ex, y - a[1] - along * ey) - r


def regular(x: Field, y: Field, sides: int, apothem: float) -> Field:
    """Distance to a regular polygon around the origin, a flat side facing +x."""
    u, _ = fold_angle(x, y, sides)
    return u - apothem


def polygon(x: Field, y: Field, points: Sequence[tuple[float, float]]) -> Field:
    """Distance to a simple polygon, concave ones included."""
    best = np.full_like(x, np.inf)
    sign = np.ones_like(x)
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        best = np.minimum(best, capsule(x, y, (ax, ay), (bx, by), 0.0))
        crosses = (ay > y) != (by > y)
        slope = (bx - ax) / (by - ay) if by != ay else 0.0
        sign = np.where(crosses & (x < (y - ay) * slope + ax), -sign, sign)
    return best * sign


def fold_angle(x: Field, y: Field, n: int, phase: float = 0.0) -> tuple[Field, Field]:
    """Fold the plane into one of `n` sectors: `(along the sector's middle, across it)`."""
    step = 2.0 * math.pi / n
    angle = np.arctan2(y, x) - phase
    angle = angle - step * np.round(angle / step)
    radius = np.hypot(x, y)
    return radius * np.cos(angle), radius * np.sin(angle)


def melt(a: Field, b: Field, k: float) -> Field:
    """Union of two distances with a fillet of about `k` where they meet."""
    mix = np.clip(0.5 + 0.5 * (b - a) / k, 0.0, 1.0)
    return b + (a - b) * mix - k * mix * (1.0 - mix)


def step_up(edge0: float, edge1: float, value: Field) -> Field:
    """Smooth ramp from 0 at `edge0` to 1 at `edge1`."""
    t = np.clip((value - edge0) / (edge1 - edge0), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def dome(distance: Field, r: float) -> Field:
    """Height of a ball or rod of radius `r` over its axis, `distance` from that axis."""
    return np.sqrt(np.maximum(r * r - distance * distance, 0.0))


def cloud(rng: np.random.Generator, size: tuple[int, int], cells: float, octaves: int = 3) -> Field:
    """Soft random blotches: float32 `size` (rows, columns), mean near 0, about -1 to 1."""
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        across = cells * 2.0**octave
        grid = (max(2, round(across * size[0] / size[1])), max(2, round(across)))
        coarse = rng.standard_normal(grid).astype(np.float32)
        fine = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        total += 0.5**octave * np.asarray(fine, np.float32)
    return 0.5 * total


def streaks(rng: np.random.Generator, across: Field, along: Field, fineness: float) -> Field:
    """Brush marks that run along `along`: float32, mean near 0, about -1 to 1."""
    table = rng.standard_normal((8, 1024)).astype(np.float32)
    table = np.asarray(cv2.GaussianBlur(table, (0, 0), 1.1), np.float32)
    u = np.asarray((across * fineness) % 1023.0, np.float32)
    v = np.asarray((along * 1.5 + 4.0) % 7.0, np.float32)
    return np.asarray(cv2.remap(table, u, v, cv2.INTER_LINEAR), np.float32)

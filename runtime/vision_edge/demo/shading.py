"""Light: reliefs lit by two softboxes over the line, and the shadows that they throw.

Metals look up the light around them by the slope of their surface (a "matcap"), blurred as far
as they are rough; everything else is lit by Lambert's law plus a glossy coat.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from vision_edge.demo.relief import SPAN, Relief
from vision_edge.demo.shapes import Field, step_up

KEY = np.array([-0.40, -0.52, 0.76], np.float32)
"""Direction to the main lamp: x right, y down, z towards the camera; nearly unit length."""

_MATCAP = 256
_BLURS = (1.0, 9.0, 30.0)
_ROUGHNESS = (0.05, 0.35, 0.8)


@lru_cache(maxsize=1)
def _surroundings() -> tuple[Field, ...]:
    """Light that a mirror would show, by surface normal: float32 `(256, 256)`, three blurs."""
    axis = np.linspace(-1.0, 1.0, _MATCAP, dtype=np.float32)
    nx, ny = np.meshgrid(axis, axis)
    nz = np.sqrt(np.maximum(1.0 - nx * nx - ny * ny, 0.02))
    px, py = nx / nz, ny / nz  # slope: 0 faces the camera, 1 sees the horizon
    steep = np.hypot(px, py)
    light = 0.20 + 0.16 * step_up(0.9, -0.6, py) - 0.16 * step_up(0.50, 1.0, steep)
    light += 1.45 * _softbox(px + 0.42, py + 0.50, 0.30, 0.17, 0.10)
    light += 0.50 * _softbox(px - 0.62, py - 0.30, 0.10, 0.42, 0.10)
    light += 0.55 * _softbox(px + 0.05, py + 1.35, 1.20, 0.16, 0.14)
    light += 0.20 * np.exp(-((px + 0.08) ** 2 + (py + 0.08) ** 2) / 0.03)
    light = np.clip(light, 0.04, None).astype(np.float32)
    return tuple(np.asarray(cv2.GaussianBlur(light, (0, 0), s), np.float32) for s in _BLURS)


def _softbox(x: Field, y: Field, half_x: float, half_y: float, soft: float) -> Field:
    """A rectangle of light with soft edges, 0 to 1."""
    inside_x = step_up(half_x + soft, half_x - soft, np.abs(x))
    return inside_x * step_up(half_y + soft, half_y - soft, np.abs(y))


def _mirror(nx: Field, ny: Field, rough: Field) -> Field:
    """Light that a surface with these normals and this roughness reflects."""
    half = 0.5 * (_MATCAP - 1)
    u = np.asarray((np.clip(nx, -0.98, 0.98) + 1.0) * half, np.float32)
    v = np.asarray((np.clip(ny, -0.98, 0.98) + 1.0) * half, np.float32)
    sharp, satin, dull = (
        np.asarray(cv2.remap(m, u, v, cv2.INTER_LINEAR), np.float32) for m in _surroundings()
    )
    a, b, c = _ROUGHNESS
    low = np.clip((rough - a) / (b - a), 0.0, 1.0)
    high = np.clip((rough - b) / (c - b), 0.0, 1.0)
    blend = (sharp + low * (satin - sharp)) * (1.0 - high) + high * dull
    return np.asarray(blend, np.float32)


class Lighting:
    """What of a relief's light does not change as it passes under the lamps.

    Args:
        relief: The finished part.
    """

    def __init__(self, relief: Relief) -> None:
        self._relief = relief
        height = np.asarray(relief.height * relief.alpha, np.float32)
        height = np.asarray(cv2.GaussianBlur(height, (0, 0), 0.9), np.float32)
        scale = 1.0 / (8.0 * relief.pixel)
        slope_x = np.asarray(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=scale), np.float32)
        slope_y = np.asarray(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=scale), np.float32)
        self._nz = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
        self._nx, self._ny = -slope_x * self._nz, -slope_y * self._nz
        wide = cv2.GaussianBlur(height, (0, 0), 0.07 / relief.pixel)
        narrow = cv2.GaussianBlur(height, (0, 0), 0.022 / relief.pixel)
        crevice = 2.0 * (np.asarray(wide) - height) + 3.0 * (np.asarray(narrow) - height)
        self._open = np.clip(1.0 - np.maximum(crevice, 0.0) * 1.6, 0.25, 1.0)
        self._sun = _self_shadow(height, relief.pixel)

    def shade(self, lamp: float) -> npt.NDArray[np.float32]:
        """Light the relief with the lamp `lamp` part-lengths to the right of its usual place.

        Args:
            lamp: Where the part is under the lamps: -1 to 1.

        Returns:
            Linear-light BGR, float32 `(size, size, 3)`, 0 upwards; meaningless where uncovered.
        """
        r = self._relief
        key = KEY + np.array([0.35 * lamp, 0.0, 0.0], np.float32)
        key = key / float(np.linalg.norm(key))
        # No camera sits infinitely far away: flat faces see a slightly different light across.
        nx = self._nx + 0.14 * r.wx / SPAN - 0.12 * lamp
        ny = self._ny + 0.14 * r.wy / SPAN
        facing = self._nx * key[0] + self._ny * key[1] + self._nz * key[2]
        sun = np.maximum(facing, 0.0) * self._sun
        mirror = _mirror(nx, ny, r.rough) * (0.45 + 0.55 * self._sun) * self._open
        metal = (1.35 * mirror + 0.07 * sun + self._glints(key)) * r.tone
        matte = (0.80 * sun + 0.10 * np.maximum(self._nx * 0.8 + self._nz * 0.6, 0.0)) * r.tone
        matte += 0.20 * self._open * r.tone
        coat = (1.0 - r.rough) * (0.05 + 0.35 * (1.0 - self._nz) ** 3) * mirror
        coat = np.asarray(coat + (1.0 - r.rough) ** 2 * 0.34 * np.maximum(mirror - 0.60, 0.0))
        grey = (1.0 - r.metal) * coat
        lit = r.metal * metal + (1.0 - r.metal) * matte
        return np.asarray(r.colour * lit[..., None] + grey[..., None], np.float32)

    def _glints(self, key: npt.NDArray[np.float32]) -> Field:
        """Fans of light on turned faces, across the lathe marks."""
        r = self._relief
        strength = np.hypot(r.turn_x, r.turn_y)
        flat = float(np.hypot(key[0], key[1]))
        along = (r.turn_x * key[0] + r.turn_y * key[1]) / (flat * np.maximum(strength, 1e-3))
        cross = (r.turn_x * key[1] - r.turn_y * key[0]) / (flat * np.maximum(strength, 1e-3))
        fan = 0.85 * (1.0 - along**2) ** 14 + 0.30 * (1.0 - cross**2) ** 40
        return np.asarray(strength * fan * self._nz * self._open, np.float32)


def _self_shadow(height: Field, pixel: float) -> Field:
    """How much of the main lamp reaches each point past higher parts: 0.3 to 1."""
    tallest = np.full_like(height, -1.0)
    rows, columns = height.shape
    for reach in (0.03, 0.07, 0.12, 0.19, 0.28):
        dx, dy = (-float(k) * reach / float(KEY[2]) / pixel for k in KEY[:2])
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
        moved = np.asarray(cv2.warpAffine(height, move, (columns, rows)), np.float32)
        tallest = np.maximum(tallest, moved - reach)
    blocked = np.clip((tallest - height) / 0.06, 0.0, 1.0).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(blocked, (0, 0), 0.02 / pixel), np.float32)
    return 1.0 - 0.62 * soft


def cast_shadow(cover: Field, height: Field, pixel: float) -> Field:
    """Shadow that a part throws on the belt around and under it.

    Args:
        cover: The part's coverage, float32 `(h, w)`, 0 to 1, with room around it.
        height: Its height over the belt, same shape, in the units of `pixel`.
        pixel: Size of a pixel.

    Returns:
        Darkness, float32 `(h, w)`: 0 none, 1 black.
    """
    rows, columns = cover.shape
    total = np.zeros_like(cover)
    for level in (0.04, 0.10, 0.18, 0.28, 0.40):
        slab = np.asarray(cover * (height > level - 0.06), np.float32)
        dx, dy = (-float(k) * level / float(KEY[2]) / pixel for k in KEY[:2])
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
        moved = cv2.warpAffine(slab, move, (columns, rows))
        blurred = cv2.GaussianBlur(moved, (0, 0), max(0.6, (0.015 + 0.16 * level) / pixel))
        total = np.maximum(total, np.asarray(blurred, np.float32))
    contact = np.asarray(cv2.GaussianBlur(cover, (0, 0), 0.05 / pixel), np.float32)
    return np.clip(0.62 * total + 0.38 * contact, 0.0, 0.88)


def to_srgb(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Linear light to display values, highlights rolled off: float32, 0 to 1."""
    rolled = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.5), light)
    return np.asarray(np.clip(rolled, 0.0, 1.0) ** (1.0 / 2.2), np.float32)

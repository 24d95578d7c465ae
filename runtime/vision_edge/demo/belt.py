"""The line itself: a ribbed rubber belt that runs for ever, between two aluminium rails."""

from __future__ import annotations

import cv2
import numpy as np

from vision_edge.demo.settings import ConveyorConfig
from vision_edge.demo.shapes import Field, cloud
from vision_edge.demo.sprites import Image, blur_kernel

_BELT, _RAILS = 11, 12
SHUTTER = 0.30
"""Share of a frame's time that the shutter is open."""


def rail_height(config: ConveyorConfig) -> int:
    """Height of each rail in pixels."""
    return round(0.083 * config.height)


class Belt:
    """The empty line.

    Args:
        config: The line; its seed decides the dirt.
    """

    def __init__(self, config: ConveyorConfig) -> None:
        self._rail = rail_height(config)
        self._width, self._height = config.width, config.height
        rows = config.height - 2 * self._rail
        texture = _texture(config, rows, 4 * config.width)
        self._length = texture.shape[1]
        # The beginning again at the end, so that any stretch is one slice.
        self._texture = np.concatenate([texture, texture[:, : config.width]], axis=1)
        rng = np.random.default_rng((config.seed, _RAILS))
        self._upper = _rail_image(self._rail, config.width, rng)
        self._lower = np.ascontiguousarray(_rail_image(self._rail, config.width, rng)[::-1])
        _hazard_label(self._lower)

    def view(self, offset: int) -> Image:
        """The empty line after `offset` pixels of travel: uint8 BGR `(height, width, 3)`."""
        start = -offset % self._length
        frame = np.empty((self._height, self._width, 3), np.uint8)
        frame[: self._rail] = self._upper
        frame[self._rail : -self._rail] = self._texture[:, start : start + self._width]
        frame[-self._rail :] = self._lower
        return frame


def _texture(config: ConveyorConfig, rows: int, length: int) -> Image:
    """One turn of belt, uint8 BGR `(rows, length, 3)`; its ends meet."""
    rng = np.random.default_rng((config.seed, _BELT))
    unit = config.height / 480.0
    overlap = config.width // 2
    wear = _join(_wear(rng, rows, length + overlap), overlap)
    dirt = _join(cloud(rng, (rows, length + overlap), 9.0 * length / rows, 4), overlap)
    light = (1.0 + _ribs(rows, length, unit) + wear) * _splice(rows, length, unit)
    light *= _rail_shadow(rows)
    bgr = np.array([46.0, 44.5, 43.5], np.float32) * light[..., None]
    dust = np.clip(dirt - 0.75, 0.0, 0.6)
    bgr += dust[..., None] * np.array([16.0, 22.0, 28.0], np.float32)
    blur = blur_kernel(SHUTTER * config.speed)
    bgr = np.asarray(cv2.filter2D(bgr, -1, blur, borderType=cv2.BORDER_REFLECT), np.float32)
    return np.asarray(np.clip(bgr, 0, 255), np.uint8)


def _rail_shadow(rows: int) -> Field:
    """Light on the belt from rail to rail, float32 `(rows, 1)`: 0.5 under the upper one."""
    row = np.arange(rows, dtype=np.float32)[:, None] / rows
    upper = 0.5 + 0.5 * np.clip(row / 0.06, 0.0, 1.0)
    lower = 0.72 + 0.28 * np.clip((1.0 - row) / 0.03, 0.0, 1.0)
    return np.asarray(upper * lower, np.float32)


def _join(field: Field, overlap: int) -> Field:
    """Fade the last `overlap` columns into the first, so that the rest repeats without a jump."""
    ramp = np.linspace(0.0, 1.0, overlap, dtype=np.float32)
    looped = field[:, :-overlap].copy()
    looped[:, :overlap] = field[:, -overlap:] * (1.0 - ramp) + looped[:, :overlap] * ramp
    return looped


def _ribs(rows: int, length: int, unit: float) -> Field:
    """A shallow diamond tread, lit from above: about -0.3 to 0.3, whole periods a turn."""
    count = max(4, round(length / (22.0 * unit)))
    x = np.arange(length, dtype=np.float32) * np.float32(2.0 * np.pi * count / length)
    y = np.arange(rows, dtype=np.float32)[:, None] * np.float32(2.0 * np.pi / (22.0 * unit))
    tread = np.maximum(np.cos(x + y), np.cos(x - y)) ** 7
    slope_x = np.diff(tread, axis=1, append=tread[:, :1])
    slope_y = np.diff(tread, axis=0, append=tread[-1:])
    return np.asarray(0.16 * tread + (0.55 * slope_x + 0.75 * slope_y) * unit, np.float32)


def _wear(rng: np.random.Generator, rows: int, length: int) -> Field:
    """Polished lanes along the travel, blotches, fine scuffs and grain: about -0.3 to 0.5."""
    lanes = rng.standard_normal((max(6, rows // 14), 1)).astype(np.float32)
    lanes = np.asarray(cv2.resize(lanes, (1, rows)), np.float32).reshape(rows, 1)
    scuffs = rng.standard_normal((rows, max(2, length // 40))).astype(np.float32)
    scuffs = np.asarray(cv2.resize(scuffs, (length, rows)), np.float32)
    grain = rng.standard_normal((rows, length)).astype(np.float32)
    blotches = cloud(rng, (rows, length), 6.0 * length / rows, 4)
    wear = 0.05 * lanes + 0.10 * blotches + 0.5 * np.maximum(scuffs - 2.1, 0.0)
    return np.asarray(wear + 0.05 * grain, np.float32)


def _splice(rows: int, length: int, unit: float) -> Field:
    """The slanted seam where the belt is joined, and a faint one half a turn away."""
    x = np.arange(length, dtype=np.float32)[None, :]
    y = np.arange(rows, dtype=np.float32)[:, None]
    factor = np.ones((rows, length), np.float32)
    for place, depth in ((0.37, 0.55), (0.87, 0.25)):
        away = np.abs(x - place * length - 0.22 * y) / unit
        factor -= depth * np.exp(-((away / 2.2) ** 2)) - 0.5 * depth * np.exp(
            -((away - 5) ** 2) / 3
        )
    return factor


def _rail_image(rows: int, width: int, rng: np.random.Generator) -> Image:
    """An aluminium extrusion with two grooves and its screws, the belt below it."""
    across = np.linspace(0.0, 1.0, rows, dtype=np.float32)
    profile = 0.52 + 0.22 * np.exp(-((across - 0.10) ** 2) / 0.004) - 0.10 * across
    for groove in (0.36, 0.70):
        profile -= 0.36 * np.exp(-(((across - groove) / 0.055) ** 4))
        profile += 0.18 * np.exp(-(((across - groove - 0.10) / 0.03) ** 2))
    profile -= 0.35 * np.clip((across - 0.90) / 0.1, 0.0, 1.0)
    brush = cv2.GaussianBlur(
        rng.standard_normal((rows, width)).astype(np.float32), (0, 0), 7, sigmaY=0.5
    )
    tint = np.array([1.03, 1.0, 0.97], np.float32) * 205.0
    light = profile[:, None] * (1.0 + 0.22 * np.asarray(brush, np.float32))
    image = np.asarray(np.clip(light[..., None] * tint, 0, 255), np.uint8)
    for x in range(round(0.08 * width), width, max(12, round(0.21 * width))):
        _screw(image, x, round(0.53 * rows), max(2, round(0.12 * rows)))
    return image


def _screw(image: Image, x: int, y: int, radius: int) -> None:
    """A socket screw, drawn in place."""
    cv2.circle(image, (x + 1, y + 1), radius + 1, (40, 40, 40), -1, cv2.LINE_AA)
    cv2.circle(image, (x, y), radius, (168, 166, 160), -1, cv2.LINE_AA)
    cv2.circle(image, (x, y), max(1, radius // 2), (45, 44, 44), -1, cv2.LINE_AA)


def _hazard_label(image: Image) -> None:
    """A yellow and black warning strip near the right end of a rail, drawn in place."""
    rows, width = image.shape[:2]
    x0, x1 = round(0.60 * width), round(0.76 * width)
    y0, y1 = round(0.34 * rows), round(0.80 * rows)
    stripes = (np.arange(x0, x1)[None, :] + np.arange(y0, y1)[:, None]) // max(3, rows // 4) % 2
    colours = np.array([[30, 30, 30], [20, 176, 226]], np.uint8)
    image[y0:y1, x0:x1] = colours[stripes]

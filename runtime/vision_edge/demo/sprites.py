"""Lit parts as cut-outs: what they add to the belt, how much of it they let through."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vision_edge.demo.machine_parts import draw_part, reach_of
from vision_edge.demo.relief import SPAN, Relief
from vision_edge.demo.settings import Box
from vision_edge.demo.shading import Lighting, cast_shadow, to_srgb
from vision_edge.demo.shapes import Field

_OVERSAMPLE = 2
_MARGIN = 0.34
"""Room for the shadow around a part, in part radii."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sprite:
    """A cut-out, its centre at the centre of its arrays.

    Attributes:
        paints: What it adds to the picture, uint8 BGR `(h, w, 3)`, with the lamp to its right,
            above it and to its left; highlights move as it passes.
        through: Share of the belt's light that still shows, shadow included, float32
            `(h, w, 3)`, 0 to 1.
        cover: Its own coverage without shadow, float32 `(h, w)`, 0 to 1.
        box: Tight box around `cover`, in pixels of these arrays.
    """

    paints: tuple[Image, ...]
    through: npt.NDArray[np.float32]
    cover: npt.NDArray[np.float32]
    box: Box

    def blend(self, canvas: Image, left: int, top: int, lamp: float = 0.0) -> None:
        """Lay it on `canvas` (uint8 BGR, changed in place), its array's corner at `(left, top)`.

        Args:
            canvas: The frame.
            left: Column of its array's first column; may be outside the frame.
            top: Row of its array's first row; may be outside the frame.
            lamp: Where it is under the lamps, -1 to 1.
        """
        rows, columns, inner = clip_to(canvas.shape, self.cover.shape, left, top)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        paint = self._paint(inner, lamp)
        under = canvas[rows, columns]
        # OpenCV multiplies bytes by floats several times faster than NumPy.
        shown = cv2.multiply(under, self.through[inner], dtype=cv2.CV_8U)
        canvas[rows, columns] = cv2.add(shown, paint)

    def _paint(self, inner: tuple[slice, slice], lamp: float) -> Image:
        if len(self.paints) == 1:
            return self.paints[0][inner]
        place = (min(max(lamp, -1.0), 1.0) + 1.0) * 0.5 * (len(self.paints) - 1)
        first = min(int(place), len(self.paints) - 2)
        share = place - first
        a, b = self.paints[first][inner], self.paints[first + 1][inner]
        return np.asarray(cv2.addWeighted(a, 1.0 - share, b, share, 0.0), np.uint8)


def clip_to(
    frame: tuple[int, ...], array: tuple[int, ...], left: int, top: int
) -> tuple[slice, slice, tuple[slice, slice]]:
    """Where an array laid at `(left, top)` meets a frame: `(rows, columns, array's part)`."""
    y0, y1 = max(0, top), min(frame[0], top + array[0])
    x0, x1 = max(0, left), min(frame[1], left + array[1])
    inner = (slice(y0 - top, max(y0, y1) - top), slice(x0 - left, max(x0, x1) - left))
    return slice(y0, y1), slice(x0, x1), inner


def part_sprite(
    label: str, side: int, rng: np.random.Generator, *, blur: float = 0.0, lamps: int = 3
) -> Sprite:
    """Draw and light one part, in a pose and of a finish drawn from `rng`.

    Args:
        label: One of `PART_NAMES`.
        side: Side of the inspection window in pixels; parts are sized by it.
        rng: Source of its rotation, its size (within 4 %), its stains.
        blur: Pixels that the belt moves while the shutter is open.
        lamps: How many places under the lamps to light it for: 3, or 1 if it will not move.

    Returns:
        The cut-out.
    """
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    radius = reach_of(label) * side * float(rng.uniform(0.96, 1.04))
    size = 2 * max(8, round(radius * SPAN))
    relief = draw_part(label, size * _OVERSAMPLE, angle, rng)
    places = (-1.0, 0.0, 1.0) if lamps > 1 else (0.0,)
    return make_sprite(relief, size, places, blur)


def make_sprite(
    relief: Relief, size: int, lamps: tuple[float, ...], blur: float, margin: float = _MARGIN
) -> Sprite:
    """Light a relief and cut it out.

    Args:
        relief: The finished part.
        size: Side in pixels that it is reduced to.
        lamps: Places under the lamps to light it for, -1 to 1.
        blur: Pixels of motion blur along the belt.
        margin: Room for its shadow, in units of the relief.

    Returns:
        The cut-out, `size` plus the margin on a side.
    """
    pixel = 2.0 * SPAN / size
    pad = round(margin / pixel)
    lighting = Lighting(relief)
    alpha = np.asarray(relief.alpha, np.float32)
    paints = []
    for lamp in lamps:
        lit = to_srgb(lighting.shade(lamp)) * alpha[..., None] * np.float32(255.0)
        paint = _motion_blur(_reduce(lit, size, pad), blur)
        paints.append(np.asarray(np.clip(np.rint(paint), 0, 255), np.uint8))
    cover = _reduce(alpha, size, pad)
    height = _reduce(np.asarray(relief.height * alpha, np.float32), size, pad)
    through = (1.0 - cast_shadow(cover, height, pixel)) * (1.0 - cover)
    through = _motion_blur(np.asarray(through, np.float32), blur)
    cover = _motion_blur(cover, blur)
    wide = np.ascontiguousarray(np.repeat(through[..., None], 3, axis=2))
    box = tight_box(cover)
    assert box is not None, "a drawing covers something"
    return Sprite(tuple(paints), wide, cover, box)


def _reduce(image: npt.NDArray[np.float32], size: int, pad: int) -> npt.NDArray[np.float32]:
    """Average down to `size` pixels and add an empty margin."""
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(framed, np.float32)


def _motion_blur(image: npt.NDArray[np.float32], length: float) -> npt.NDArray[np.float32]:
    """Smear along x by `length` pixels, fractions included."""
    if length < 0.25:
        return image
    return np.asarray(cv2.filter2D(image, -1, blur_kernel(length)), np.float32)


def blur_kernel(length: float) -> npt.NDArray[np.float32]:
    """Box of `length` pixels, as float32 weights `(1, n)` with n odd and sum 1."""
    half = int(np.ceil(max(0.0, length - 1.0) / 2.0))
    distance = np.abs(np.arange(-half, half + 1, dtype=np.float32))
    weights = np.clip(0.5 * (length + 1.0) - distance, 0.0, 1.0)
    return np.asarray(weights / weights.sum(), np.float32)[None, :]


def tight_box(cover: Field) -> Box | None:
    """Box around what is covered by more than a quarter; None if nothing is."""
    rows = np.flatnonzero(np.any(cover > 0.25, axis=1))
    columns = np.flatnonzero(np.any(cover > 0.25, axis=0))
    if not rows.size or not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

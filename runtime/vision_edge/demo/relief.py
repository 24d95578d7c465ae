"""A part as a relief: outline, height, colour and finish at every pixel, ready to be lit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vision_edge.demo.shapes import Field, cloud, streaks

SPAN = 1.08
"""A relief covers -SPAN to SPAN both ways; parts stay within a circle of radius 1."""


@dataclass(frozen=True)
class Material:
    """What a surface is made of.

    Attributes:
        colour: sRGB colour as `"#rrggbb"`: the paint's, or the tint of a metal's reflections.
        metal: 0 for paint, plastic and rubber, 1 for bare metal.
        rough: 0 for a mirror, 1 for chalk.
        brushed: Strength of brush marks along the local x axis.
        mottle: Strength of random blotches, as cast or worn surfaces have.
    """

    colour: str
    metal: float = 0.0
    rough: float = 0.5
    brushed: float = 0.0
    mottle: float = 0.05


def linear_bgr(colour: str) -> tuple[float, float, float]:
    """Convert `"#rrggbb"` to linear light (blue, green, red), each 0 to 1."""
    r, g, b = (int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    return b**2.2, g**2.2, r**2.2


class Relief:
    """A square drawing surface seen from above, on which a part is built layer by layer.

    Attributes:
        x, y: Coordinates in the part's own frame, float32 `(size, size)`; x right, y down
            before the rotation.
        wx, wy: The same pixels in the camera's frame.
        alpha: Coverage, float32 0 to 1.
        height: Height over the belt, in the units of `x`.
        colour: Linear-light BGR, float32 `(size, size, 3)`, 0 to 1.
        metal, rough: See `Material`.
        tone: Factor on whatever light is reflected: dirt, brush marks, engraving.
        turn_x, turn_y: Direction of lathe marks in the camera's frame; length is strength.
        pixel: Size of a pixel, in the units of `x`.
    """

    def __init__(self, size: int, angle: float, rng: np.random.Generator) -> None:
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0) * SPAN
        self.wx, self.wy = (np.ascontiguousarray(a) for a in np.meshgrid(axis, axis))
        self._cos, self._sin = math.cos(angle), math.sin(angle)
        self.x: Field = self._cos * self.wx + self._sin * self.wy
        self.y: Field = self._cos * self.wy - self._sin * self.wx
        self.size = size
        self.pixel = 2.0 * SPAN / size
        self.rng = rng
        self.alpha: Field = np.zeros((size, size), np.float32)
        self.height: Field = np.zeros((size, size), np.float32)
        self.metal: Field = np.zeros((size, size), np.float32)
        self.rough: Field = np.ones((size, size), np.float32)
        self.tone: Field = np.ones((size, size), np.float32)
        self.turn_x: Field = np.zeros((size, size), np.float32)
        self.turn_y: Field = np.zeros((size, size), np.float32)
        self.colour = np.zeros((size, size, 3), np.float32)

    def cover(self, distance: Field) -> Field:
        """Return the anti-aliased coverage, 0 to 1, of a signed distance."""
        return np.asarray(np.clip(0.5 - distance / self.pixel, 0.0, 1.0), np.float32)

    def add(
        self,
        distance: Field,
        top: float | Field,
        material: Material,
        *,
        bevel: float = 0.03,
        behind: bool = False,
    ) -> Field:
        """Lay a solid over what is there.

        Args:
            distance: Signed distance to its outline.
            top: Height of its upper face.
            material: What it is made of.
            bevel: Radius that rounds its upper edge.
            behind: Keep whatever is already there and higher.

        Returns:
            Its coverage, float32 `(size, size)`, 0 to 1.
        """
        cover = self.cover(distance)
        height = top - edge_drop(-distance, bevel)
        if behind:
            cover = cover * (height > self.height)
        self._blend(cover, height)
        self._finish(cover, material)
        return cover

    def _blend(self, cover: Field, height: Field) -> None:
        self.alpha = np.maximum(self.alpha, cover)
        self.height = self.height + cover * (height - self.height)
        self.turn_x = self.turn_x * (1.0 - cover)
        self.turn_y = self.turn_y * (1.0 - cover)

    def _finish(self, cover: Field, material: Material) -> None:
        tone = np.ones_like(cover)
        if material.mottle:
            tone += material.mottle * cloud(self.rng, (self.size, self.size), 5.0)
        if material.brushed:
            tone += material.brushed * streaks(self.rng, self.y, self.x, 110.0)
        paint = np.array(linear_bgr(material.colour), np.float32)
        self.colour += cover[..., None] * (paint - self.colour)
        self.metal = self.metal + cover * (material.metal - self.metal)
        self.rough = self.rough + cover * (material.rough - self.rough)
        self.tone = self.tone + cover * (tone - self.tone)

    def paint(self, distance: Field, material: Material, strength: float = 1.0) -> Field:
        """Change the material inside an outline, not its height; returns the coverage."""
        cover = self.cover(distance) * np.float32(strength) * self.alpha
        self._finish(cover, material)
        return cover

    def cut(self, distance: Field, *, bevel: float = 0.02) -> None:
        """Cut a hole through to the belt, its upper edge rounded by `bevel`."""
        self.height = self.height - self.alpha * edge_drop(distance, bevel)
        self.alpha = self.alpha * (1.0 - self.cover(distance))

    def sink(self, distance: Field, depth: float, *, slope: float = 0.02) -> None:
        """Press an outline `depth` down into what is there, over walls `slope` wide."""
        fall = np.clip(0.5 - distance / max(slope, self.pixel), 0.0, 1.0)
        self.height = self.height - np.float32(depth) * fall * (self.alpha > 0)

    def turned(self, cover: Field, strength: float, centre: tuple[float, float] = (0, 0)) -> None:
        """Give a covered area the marks of a lathe: glints that fan out from `centre`."""
        cx = self._cos * centre[0] - self._sin * centre[1]
        cy = self._sin * centre[0] + self._cos * centre[1]
        dx, dy = self.wx - cx, self.wy - cy
        length = np.maximum(np.hypot(dx, dy), 1e-3)
        self.turn_x = self.turn_x + cover * (strength * -dy / length - self.turn_x)
        self.turn_y = self.turn_y + cover * (strength * dx / length - self.turn_y)
        rings = streaks(self.rng, length, np.zeros_like(length), 160.0)
        self.tone = self.tone * (1.0 + 0.05 * cover * rings)

    def decal(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        box: tuple[float, float, float, float],
        material: Material,
    ) -> Field:
        """Print a picture on what is there, within `box` (x0, y0, x1, y1) of the part's frame.

        Args:
            image: Linear-light BGR, float32 `(h, w, 3)`.
            mask: Where to print, float32 `(h, w)`, 0 to 1.
            box: Where it lies, in the units of `x`.
            material: Its finish; the colour is the picture's.

        Returns:
            Its coverage, float32 `(size, size)`, 0 to 1.
        """
        rows, columns = mask.shape
        u = np.asarray((self.x - box[0]) / (box[2] - box[0]) * columns - 0.5, np.float32)
        v = np.asarray((self.y - box[1]) / (box[3] - box[1]) * rows - 0.5, np.float32)
        cover = np.asarray(cv2.remap(mask, u, v, cv2.INTER_LINEAR), np.float32) * self.alpha
        self._finish(cover, material)
        print_ = np.asarray(cv2.remap(image, u, v, cv2.INTER_LINEAR), np.float32)
        self.colour += cover[..., None] * (print_ - self.colour)
        return cover


def edge_drop(depth: Field, bevel: float) -> Field:
    """How far a rounded edge lies below its face, `depth` in from the outline: 0 to `bevel`."""
    if bevel <= 0.0:
        return np.zeros_like(depth)
    t = 1.0 - np.clip(depth / bevel, 0.0, 1.0)
    return np.asarray(bevel * (1.0 - np.sqrt(np.maximum(1.0 - t * t, 0.0))), np.float32)

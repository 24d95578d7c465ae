"""The operator's gloved hand and sleeve, reaching over the belt."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vision_edge.demo.relief import Material, Relief
from vision_edge.demo.shapes import Field, box, capsule, cloud, melt, step_up
from vision_edge.demo.sprites import Sprite, make_sprite

_KNIT = Material("#b9b6ac", rough=0.85, mottle=0.10)
_COATING = Material("#1c4f86", rough=0.48, mottle=0.10)
_HEM = Material("#c8551c", rough=0.8)
_CLOTH = Material("#26334d", rough=0.95, mottle=0.16)

_FINGERS = (
    ((-0.205, -0.16), (-0.245, -0.40), (-0.235, -0.56), 0.070),
    ((-0.070, -0.20), (-0.085, -0.48), (-0.070, -0.70), 0.076),
    ((0.070, -0.19), (0.078, -0.46), (0.070, -0.66), 0.075),
    ((0.205, -0.12), (0.235, -0.34), (0.225, -0.47), 0.062),
)
"""Each finger's root, middle joint, tip and radius; the thumb apart. The hand is 0.6 wide."""


def hand_sprite(side: int, from_top: bool, rng: np.random.Generator) -> Sprite:
    """Draw one hand, fingertips towards the middle of the belt.

    Args:
        side: Side of the inspection window in pixels.
        from_top: It comes from the upper edge of the frame.
        rng: Source of its tilt, the spread of its fingers, and the creases.

    Returns:
        A cut-out whose fingertips are near the inner end of its arrays and whose sleeve fills
        the outer end.
    """
    tilt = float(rng.uniform(-0.22, 0.22))
    size = 2 * round(0.92 * side)
    relief = Relief(round(1.4 * size), tilt + (math.pi if from_top else 0.0), rng)
    spread = float(rng.uniform(0.6, 1.3))
    mirrored = 1.0 if rng.random() < 0.7 else -1.0
    relief.x = relief.x * mirrored
    _sleeve(relief)
    _glove(relief, spread)
    return make_sprite(relief, size, (0.0,), 0.0, margin=0.2)


def _sleeve(r: Relief) -> None:
    """A forearm in blue cloth with folds, and the glove's coloured hem over it."""
    width = 0.245 + 0.07 * (r.y - 0.3) + 0.012 * np.sin(9.0 * r.y)
    sleeve = np.maximum(np.abs(r.x) - width, 0.42 - r.y)
    folds = cloud(r.rng, (r.size, r.size), 7.0) + 0.6 * np.sin(17.0 * r.y + 6.0 * r.x)
    r.add(sleeve, 0.12 + _inflate(np.abs(r.x) - width, 0.26, 0.24) + 0.026 * folds, _CLOTH)
    cuff = np.maximum(np.abs(r.x) - 0.205, np.abs(r.y - 0.36) - 0.16)
    ribs = 0.006 * np.cos(r.x * 160.0)
    r.add(cuff, 0.14 + _inflate(np.abs(r.x) - 0.205, 0.2, 0.22) + ribs, _KNIT, bevel=0.02)
    r.paint(np.maximum(cuff, np.abs(r.y - 0.47) - 0.03), _HEM)


def _glove(r: Relief, spread: float) -> None:
    """Knitted back, dipped fingers that bend down towards the belt."""
    x, y = r.x, r.y
    shape = box(x, y, (0.265, 0.25), (0.0, 0.03), radius=0.12)
    top = 0.17 + _inflate(shape, 0.15, 0.20)
    for root, joint, tip, radius in _FINGERS:
        bone = np.minimum(
            capsule(x, y, root, _splay(joint, spread), radius),
            capsule(x, y, _splay(joint, spread), _splay(tip, spread), radius * 0.92),
        )
        fall = 0.10 * step_up(0.55 * joint[1], tip[1], y)  # the tip is nearer to the belt
        top = np.maximum(top, np.where(bone < 0.0, _round(bone, radius) + 0.27 - fall, 0.0))
        shape = melt(shape, bone, 0.03)
    thumb = np.minimum(
        capsule(x, y, (-0.19, 0.14), (-0.37, -0.06), 0.085),
        capsule(x, y, (-0.37, -0.06), (-0.40 - 0.05 * spread, -0.24), 0.074),
    )
    top = np.maximum(top, np.where(thumb < 0.0, _round(thumb, 0.08) + 0.22, 0.0))
    shape = melt(melt(shape, thumb, 0.08), box(x, y, (0.185, 0.14), (0.0, 0.28), 0.05), 0.10)
    top = np.maximum(top, 0.16 + _inflate(shape, 0.12, 0.10)) + _knuckles(x, y)
    top = np.asarray(top + 0.012 * cloud(r.rng, (r.size, r.size), 9.0), np.float32)
    soft = cv2.GaussianBlur(top, (0, 0), 0.012 / r.pixel)
    cover = r.add(shape, np.asarray(soft, np.float32), _KNIT, bevel=0.0)
    stitches = np.cos(x * 170.0) * np.cos(y * 130.0)
    r.tone = r.tone * (1.0 + 0.13 * cover * stitches)
    r.paint(np.maximum(shape, y + 0.17 + 0.02 * np.sin(14.0 * x)), _COATING)
    r.paint(np.maximum(shape, x + 0.31 + 0.2 * y), _COATING)


def _splay(point: tuple[float, float], spread: float) -> tuple[float, float]:
    """Move a joint outwards as the fingers spread; 1 is a hand at rest."""
    return point[0] * (1.0 + 0.30 * (spread - 0.8) * -point[1]), point[1]


def _round(distance: Field, radius: float) -> Field:
    """Cross-section of a finger."""
    depth = np.clip(-distance / radius, 0.0, 1.0)
    return np.asarray(1.15 * radius * np.sqrt(depth * (2.0 - depth)), np.float32)


def _knuckles(x: Field, y: Field) -> Field:
    """Bumps over the finger roots and joints."""
    total = np.zeros_like(x)
    for root, joint, _, _ in _FINGERS:
        for bx, by in (root, joint):
            total += 0.030 * np.exp(-((x - bx) ** 2 + (y - by) ** 2) / 0.0035)
    return total


def _inflate(distance: Field, radius: float, height: float) -> Field:
    """Round up from an outline to `height`, reached `radius` inside it."""
    t = 1.0 - np.clip(-distance / radius, 0.0, 1.0)
    flat = height * np.sqrt(np.maximum(1.0 - t * t, 0.0))
    return np.asarray(flat * step_up(-0.2, 0.1, -distance + 0.1), np.float32)

"""Scenes with known truth: cut-out products laid on a belt, some touching, in changing light.

The products are catalogue pictures on white (`data/grocery_iconic.zip`), cut out by their
background; the belt is the rendered one of the demonstration, or noise with stripes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vision_edge.demo.belt import Belt
from vision_edge.demo.settings import ConveyorConfig
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.presence import Box

SIZE = (1280, 720)
SEVERAL = {
    "Beef-Tomato", "Brown-Cap-Mushroom", "Carrots", "Kiwi", "Papaya", "Red-Beet", "Satsumas",
}  # fmt: skip
"""Classes whose picture shows several pieces, which are no single part."""


@dataclass(frozen=True)
class Cutout:
    """A product without its background.

    Attributes:
        label: Its class.
        image: uint8 (h, w, 3), BGR.
        cover: float32 (h, w), 0 to 1.
    """

    label: str
    image: Image
    cover: np.ndarray


@dataclass(frozen=True)
class Lying:
    """One product in a scene: which, and where."""

    label: str
    box: Box


def cutouts(archive: Path, split: str) -> list[Cutout]:
    """Return the products of a split, each cut out of its white background."""
    found = []
    with zipfile.ZipFile(archive) as packed:
        for name in sorted(packed.namelist()):
            if name.startswith(f"{split}/") and not name.endswith("/"):
                data = np.frombuffer(packed.read(name), np.uint8)
                found.append(_cut(name.split("/")[1], cv2.imdecode(data, cv2.IMREAD_COLOR)))
    return [one for one in found if one is not None and one.label not in SEVERAL]


def _cut(label: str, image: Image) -> Cutout | None:
    """Cut a product out: what the white around it does not reach."""
    padded = cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    mask = np.zeros((padded.shape[0] + 2, padded.shape[1] + 2), np.uint8)
    cv2.floodFill(
        padded.copy(),
        mask,
        (0, 0),
        0,
        (6,) * 3,
        (6,) * 3,
        4 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE,
    )
    cover = (mask[1:-1, 1:-1] == 0).astype(np.uint8)
    cover = cv2.morphologyEx(cover, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cover)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, 4].argmax())
    x, y, w, h, area = stats[largest]
    if area < 0.2 * w * h or area < 2000:
        return None
    inside = np.s_[y : y + h, x : x + w]
    return Cutout(label, padded[inside].copy(), (labels[inside] == largest).astype(np.float32))


def laid(cutout: Cutout, side: float, angle: float) -> Cutout:
    """Return it turned by `angle` degrees, its longer side `side` pixels."""
    h, w = cutout.cover.shape
    scale = side / max(h, w)
    diagonal = int(np.hypot(h, w) * scale) + 6
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), angle, scale)
    matrix[:, 2] += (diagonal / 2 - w / 2, diagonal / 2 - h / 2)
    size = (diagonal, diagonal)
    image = cv2.warpAffine(cutout.image, matrix, size, flags=cv2.INTER_AREA, borderValue=(255,) * 3)
    cover = cv2.warpAffine(cutout.cover, matrix, size, flags=cv2.INTER_LINEAR)
    x, y, w, h = cv2.boundingRect((cover > 0.5).astype(np.uint8))
    inside = np.s_[y : y + h, x : x + w]
    return Cutout(cutout.label, image[inside], cover[inside])


class Scenes:
    """Makes scenes of one belt.

    Args:
        seed: Decides the belt.
        rendered: Whether the belt is the demonstration's, or noise with stripes.
        colour: Blue, green and red of the striped belt, 0 to 255; by default a grey one.
    """

    def __init__(
        self, seed: int, *, rendered: bool = True, colour: tuple[float, float, float] | None = None
    ) -> None:
        self._rng = np.random.default_rng(seed)
        width, height = SIZE
        if rendered:
            config = ConveyorConfig(seed=seed, width=width, height=height, speed=8.0)
            self._belt, self._flat = Belt(config), None
            self.rail = 64
        else:
            self._belt, self._flat = None, _striped(seed, colour)
            self.rail = 12

    def empty(self, offset: int = 0) -> Image:
        """Return the empty belt after so many pixels of travel."""
        if self._belt is not None:
            return self._belt.view(offset)
        assert self._flat is not None
        return np.ascontiguousarray(np.roll(self._flat, offset, axis=1))

    def scene(
        self, parts: Sequence[tuple[Cutout, int, int]], *, gain: float = 1.0, slope: float = 0.0
    ) -> tuple[Image, list[Lying]]:
        """Lay cut-outs at (left, top) on the moved belt, in other light, with soft shadows."""
        canvas = self.empty(int(self._rng.integers(0, 2000))).astype(np.float32)
        truth = []
        for cutout, left, top in parts:
            h, w = cutout.cover.shape
            _shade(canvas, cutout.cover, left + 5, top + 6)
            inside = np.s_[top : top + h, left : left + w]
            cover = cutout.cover[..., None]
            canvas[inside] = canvas[inside] * (1 - cover) + cutout.image * cover
            truth.append(Lying(cutout.label, (left, top, left + w, top + h)))
        light = gain * (1 + slope * np.linspace(-1, 1, SIZE[0], dtype=np.float32))[None, :, None]
        noise = self._rng.normal(0, 2.0, canvas.shape).astype(np.float32)
        return np.clip(canvas * light + noise, 0, 255).astype(np.uint8), truth


def _shade(canvas: np.ndarray, cover: np.ndarray, left: int, top: int) -> None:
    pad = 12
    soft = cv2.GaussianBlur(cv2.copyMakeBorder(cover, pad, pad, pad, pad, 0), (0, 0), 5)
    y0, x0 = max(0, top - pad), max(0, left - pad)
    h, w = soft.shape
    y1, x1 = min(canvas.shape[0], top - pad + h), min(canvas.shape[1], left - pad + w)
    part = soft[y0 - top + pad : y1 - top + pad, x0 - left + pad : x1 - left + pad]
    canvas[y0:y1, x0:x1] *= 1 - 0.3 * part[..., None]


def _striped(seed: int, colour: tuple[float, float, float] | None = None) -> Image:
    rng = np.random.default_rng(seed)
    width, height = SIZE
    base = rng.uniform(60, 130) + rng.uniform(-8, 8, 3) if colour is None else np.array(colour)
    coarse = cv2.resize(
        rng.normal(0, 5, (18, 32)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC
    )
    coarse[:, -64:] = coarse[:, -64:] * np.linspace(1, 0, 64) + coarse[:, :1] * np.linspace(
        0, 1, 64
    )
    grain = rng.normal(0, 7, (height, width))
    ribs = 6.0 * (np.arange(width) % 32 < 5)
    return np.clip(base + (coarse + grain + ribs)[..., None], 0, 255).astype(np.uint8)


def separate(
    rng: np.random.Generator,
    parts: Sequence[Cutout],
    taken: Sequence[Box],
    rail: int,
    gap: int = 14,
) -> list[tuple[Cutout, int, int]]:
    """Place parts at random, wholly in view and apart from each other and from what is taken."""
    placed: list[tuple[Cutout, int, int]] = []
    boxes = list(taken)
    for part in parts:
        h, w = part.cover.shape
        for _ in range(400):
            x = int(rng.integers(14, SIZE[0] - w - 14))
            y = int(rng.integers(rail + 8, SIZE[1] - rail - h - 8))
            if not any(_near((x, y, x + w, y + h), box, gap) for box in boxes):
                placed.append((part, x, y))
                boxes.append((x, y, x + w, y + h))
                break
    return placed


def touching(
    rng: np.random.Generator, parts: Sequence[Cutout], rail: int
) -> list[tuple[Cutout, int, int]]:
    """Place parts in a row, each pushed against the one before until their outlines meet."""
    middle = int(rng.integers(rail + 110, SIZE[1] - rail - 110))
    placed: list[tuple[Cutout, int, int]] = []
    cover = np.zeros((SIZE[1], SIZE[0]), bool)
    x = int(rng.integers(20, 400))
    for part in parts:
        h, w = part.cover.shape
        y = int(np.clip(middle - h // 2 + rng.integers(-12, 13), rail + 4, SIZE[1] - rail - h - 4))
        own = part.cover > 0.5
        if placed:
            x += placed[-1][0].cover.shape[1] + 4
            while x > 0 and not (cover[y : y + h, x - 1 : x - 1 + w] & own).any():
                x -= 1
        if x + w > SIZE[0] - 10:
            break
        cover[y : y + h, x : x + w] |= own
        placed.append((part, x, y))
    return placed


def boxes_of(placed: Sequence[tuple[Cutout, int, int]]) -> list[Box]:
    """Return where placed parts lie."""
    return [(x, y, x + p.cover.shape[1], y + p.cover.shape[0]) for p, x, y in placed]


def _near(a: Box, b: Box, gap: int) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap

"""Shadows that cross: how often one is taken for a part, and whether dark parts are still found.

    python benchmarks/shadows.py --archive grocery_iconic.zip [--split train] [--draws 2]

A shadow is a hand's, a beam's or a round one's, anywhere in the view, with so much of the light
left in it and an edge so soft, on belts of four colours that move. Beside it the same with a part
lying clear of it, and dark parts (a product without colour, at so much of its brightness) alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from composed_scenes import SIZE, Cutout, Scenes, cutouts, laid
from measured import circumstances

from vision_edge.runtime import Presence
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.recognition.part_motion import iou

BELTS: dict[str, tuple[float, float, float] | None] = {
    "rendered": None,
    "grey": (95.0, 92.0, 90.0),
    "green": (80.0, 110.0, 45.0),
    "blue": (150.0, 95.0, 40.0),
}
SHAPES = ("hand", "beam", "round")
LEFT = (0.85, 0.7, 0.55, 0.4, 0.25)
"""Share of the light that is left in the shadow; 0.25 is a lamp close by, in a dark hall."""
SOFT = (1.0, 4.0, 12.0, 30.0)
"""Width of its edge: standard deviation in pixels of a view of 1280x720."""
DARK = (1.0, 0.6, 0.4, 0.25)
"""Brightness of a part without colour, as a share of its own."""


def shadow(rng: np.random.Generator, shape: str, left: float, soft: float) -> np.ndarray:
    """Return how much of the light reaches each pixel: float32 (720, 1280)."""
    mask = np.zeros(SIZE[::-1], np.float32)
    x, y = int(rng.integers(300, SIZE[0] - 300)), int(rng.integers(180, SIZE[1] - 180))
    if shape == "round":
        cv2.ellipse(mask, (x, y), (int(rng.integers(60, 160)), 80), 30, 0, 360, 1.0, -1)
    elif shape == "beam":
        slope = int(rng.integers(-200, 200))
        cv2.line(mask, (x - slope, 0), (x + slope, SIZE[1]), 1.0, int(rng.integers(60, 260)))
    else:  # an arm from the edge, with a hand and fingers
        cv2.line(mask, (x, SIZE[1]), (x, y), 1.0, 80)
        cv2.circle(mask, (x, y), 70, 1.0, -1)
        for angle in np.radians((-50, -20, 5, 30)):
            tip = (x + int(150 * np.sin(angle)), y - int(150 * np.cos(angle)))
            cv2.line(mask, (x, y), tip, 1.0, 26)
    return 1 - (1 - left) * cv2.GaussianBlur(mask, (0, 0), soft)


def shaded(rng: np.random.Generator, image: Image, light: np.ndarray) -> Image:
    """Return the picture in that light, the noise of its sensor on top."""
    noise = rng.normal(0, 2.0, image.shape).astype(np.float32)
    return np.clip(image * light[..., None] + noise, 0, 255).astype(np.uint8)


def dark(part: Cutout, share: float) -> Cutout:
    """Return a product without colour, so much of its brightness left."""
    grey = cv2.cvtColor(part.image, cv2.COLOR_BGR2GRAY).astype(np.float32) * share
    return Cutout(part.label, cv2.merge([grey.astype(np.uint8)] * 3), part.cover)


def scenes(draws: int) -> Iterator[tuple[str, int, Scenes]]:
    """Give each belt, as often as drawn."""
    for name, colour in BELTS.items():
        for number in range(draws):
            yield name, number, Scenes(number, rendered=colour is None, colour=colour)


def vain(draws: int) -> dict[tuple[str, object], list[bool]]:
    """Return per belt, shape, light left and softness whether something was found in each."""
    rows: dict[tuple[str, object], list[bool]] = {}
    for belt, number, scene in scenes(draws):
        presence, rng = Presence(scene.empty()), np.random.default_rng(number)
        for shape in SHAPES:
            for left in LEFT:
                for soft in SOFT:
                    image = scene.empty(int(rng.integers(0, 2000)))
                    image = shaded(rng, image, shadow(rng, shape, left, soft))
                    told = bool(presence.find_all(image))
                    for key in (("belt", belt), ("shape", shape), ("left", left), ("soft", soft)):
                        rows.setdefault(key, []).append(told)
    return rows


def parts(pool: list[Cutout], draws: int) -> dict[tuple[str, object], list[bool]]:
    """Return whether each part was found: dark ones, and some beside a shadow or half in it."""
    rows: dict[tuple[str, object], list[bool]] = {}
    for belt, number, scene in scenes(draws):
        empty, rng = scene.empty(), np.random.default_rng(100 + number)
        for side in (60, 140, 300):
            for share in DARK:
                for soft in (None, 2.0, 12.0):
                    one = laid(dark(pool[int(rng.integers(len(pool)))], share), side, 0)
                    h, w = one.cover.shape
                    x, y = int(rng.integers(20, SIZE[0] - w - 20)), int(rng.integers(80, 640 - h))
                    image, truth = scene.scene([(one, x, y)])
                    if soft is not None:
                        image = shaded(rng, image, shadow(rng, "beam", 0.6, soft))
                    found = Presence(empty).find_all(image)
                    good = any(iou(truth[0].box, each.box) >= 0.5 for each in found)
                    keys = (("side", side), ("brightness", share), ("belt", belt))
                    name = "no shadow" if soft is None else "a beam's shadow, too"
                    for key in keys:
                        rows.setdefault((f"{name}: {key[0]}", key[1]), []).append(good)
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--draws", type=int, default=2)
    args = parser.parse_args()
    print(circumstances())
    for title, rows in (
        ("shadows taken for a part, in %", vain(args.draws)),
        ("parts without colour found, in %", parts(cutouts(args.archive, args.split), args.draws)),
    ):
        print(title)
        for (axis, value), told in rows.items():
            print(f"  {axis:34s} {value!s:>9s} {100 * np.mean(told):6.1f} of {len(told)}")


if __name__ == "__main__":
    main()

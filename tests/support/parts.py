"""Pictures with several parts in them: rendered parts on the rendered belt, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from vision_edge.demo.belt import Belt
from vision_edge.demo.settings import ConveyorConfig
from vision_edge.demo.sprites import part_sprite
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.part_outlines import Box

CONFIG = ConveyorConfig(seed=3, width=640, height=480)
NAMES = ("hex_nut", "pipe_elbow", "spur_gear")


_belt = cache(lambda: Belt(CONFIG))


def empty_belt(offset: int = 0) -> Image:
    """Return the empty belt, uint8 (480, 640, 3) BGR, after so many pixels of travel."""
    return _belt().view(offset)


def laid_out(
    labels: Sequence[str] = NAMES, offset: int = 0, x: int = 20, side: int = 190
) -> tuple[Image, list[Box]]:
    """Return the belt with parts side by side, and where each lies."""
    canvas, boxes = empty_belt(offset), []
    for number, label in enumerate(labels):
        sprite = part_sprite(label, side, np.random.default_rng(number))
        left = x + number * 205
        top = 240 - sprite.cover.shape[0] // 2 + (number % 2) * 30
        sprite.blend(canvas, left - sprite.box[0], top)
        x0, y0, x1, y1 = sprite.box
        boxes.append((left, top + y0, left + x1 - x0, top + y1))
    return canvas, boxes


def several(folder: Path, labels: Sequence[str] = NAMES) -> tuple[Path, Path]:
    """Write a folder of pictures with parts side by side; return it and the empty picture."""
    folder.mkdir(parents=True)
    for number in range(3):
        assert cv2.imwrite(str(folder / f"{number}.png"), laid_out(labels, 40 * number)[0])
    empty = folder.with_suffix(".png")
    assert cv2.imwrite(str(empty), empty_belt())
    return folder, empty

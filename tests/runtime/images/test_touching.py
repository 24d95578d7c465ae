"""Parts that touch are taken apart, and a part is left whole, whatever its shape."""

from __future__ import annotations

import cv2
import numpy as np
from support.parts import empty_belt

from vision_edge.demo.machine_parts import PART_NAMES
from vision_edge.demo.sprites import part_sprite
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.images.touching import Ground, fullness, possible_cuts, taken_apart
from vision_edge.runtime.recognition.part_motion import iou


def alone(label: str, seed: int) -> tuple[Image, tuple[int, int, int, int]]:
    """Return the moved belt with one rendered part on it, and where it lies."""
    image = empty_belt(70 * seed)
    sprite = part_sprite(label, 240, np.random.default_rng(seed))
    left, top = 200, 240 - sprite.cover.shape[0] // 2
    sprite.blend(image, left, top)
    x0, y0, x1, y1 = sprite.box
    return image, (left + x0, top + y0, left + x1, top + y1)


def test_single_parts_of_all_shapes_are_one_part_each_but_for_a_few() -> None:
    one, poses = 0, 2
    for number, label in enumerate(PART_NAMES * poses):
        image, box = alone(label, number)
        found = Presence(empty_belt()).find_all(image)
        one += len(found) == 1 and iou(found[0].box, box) > 0.6
    assert one >= 30, f"{one} of {poses * len(PART_NAMES)}"


def row(seed: int) -> tuple[Image, list[tuple[int, int, int, int]]]:
    """Return three plain boxes side by side, and where each lies."""
    rng = np.random.default_rng(seed)
    image, x, boxes = empty_belt(90 * seed), 120, []
    for colour in ((220, 120, 60), (60, 200, 220), (90, 220, 90)):
        width, height = int(rng.integers(60, 90)), int(rng.integers(110, 160))
        top = 240 - height // 2 + int(rng.integers(-14, 15))
        cv2.rectangle(image, (x, top), (x + width - 1, top + height - 1), colour, -1)
        boxes.append((x, top, x + width, top + height))
        x += width
    return image, boxes


def test_boxes_side_by_side_are_mostly_cut_along_the_edge_between_them() -> None:
    good = 0
    for seed in range(12):
        image, boxes = row(seed)
        found = Presence(empty_belt()).find_all(image)
        good += sum(any(iou(one.box, box) > 0.5 for one in found) for box in boxes)
    assert good >= 17, f"{good} of 36"


def test_where_parts_do_not_touch_each_shape_stays_one() -> None:
    for number, label in enumerate(PART_NAMES):
        image, box = alone(label, number)
        found = Presence(empty_belt(), touching=False).find_all(image)
        assert [iou(one.box, box) > 0.6 for one in found] == [True], label
    image, _ = row(1)
    assert len(Presence(empty_belt(), touching=False).find_all(image)) == 1


def test_a_full_shape_offers_no_cut() -> None:
    mask = cv2.circle(np.zeros((80, 80), np.uint8), (40, 40), 30, 1, -1)
    (outline,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ground = Ground(np.zeros((80, 80, 3), np.uint8), np.zeros((80, 80), np.uint8))
    assert fullness(outline) > 0.95
    assert possible_cuts(outline, ground, 20) == []
    assert taken_apart(outline, ground, 20)[0] is outline

"""A shadow is no part, however deep and on whatever belt; what lies in it is one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.recognition.part_motion import iou

GREY, GREEN, BLUE = (92, 93, 95), (80, 110, 45), (150, 95, 40)
PART = (150, 130, 260, 220)


def belt(seed: int, colour: tuple[int, int, int] = GREY) -> Image:
    """A textured belt of some colour: the same for a seed, moved for another."""
    grain = np.random.default_rng(seed).normal(0, 9, (360, 480, 1))
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)


def in_shadow(image: Image, left: float, soft: float) -> Image:
    """A round shadow over the middle leaves so much of the light."""
    mask = cv2.ellipse(np.zeros((360, 480), np.float32), (220, 180), (130, 90), 20, 0, 360, 1.0, -1)
    light = 1 - (1 - left) * cv2.GaussianBlur(mask, (0, 0), soft)
    noise = np.random.default_rng(9).normal(0, 2, image.shape)
    return np.clip(image * light[..., None] + noise, 0, 255).astype(np.uint8)


def with_part(image: Image, colour: tuple[int, int, int]) -> Image:
    return cv2.rectangle(image.copy(), PART[:2], (PART[2] - 1, PART[3] - 1), colour, -1)


@pytest.mark.parametrize("colour", [GREY, GREEN, BLUE])
@pytest.mark.parametrize(("left", "soft"), [(0.85, 3), (0.7, 6), (0.55, 8), (0.4, 12), (0.25, 20)])
def test_a_shadow_is_no_part(colour: tuple[int, int, int], left: float, soft: float) -> None:
    assert Presence(belt(0, colour)).find_all(in_shadow(belt(5, colour), left, soft)) == []


@pytest.mark.parametrize("left", [0.85, 0.7, 0.5])
def test_a_hard_shadow_is_no_part_where_the_belt_shows_through(left: float) -> None:
    assert Presence(belt(0)).find_all(in_shadow(belt(5), left, 1.0)) == []


@pytest.mark.parametrize("left", [1.0, 0.7, 0.5])
@pytest.mark.parametrize("colour", [(40, 40, 200), (60, 200, 230), (20, 20, 20)])
def test_a_part_is_found_in_a_shadow_too(left: float, colour: tuple[int, int, int]) -> None:
    found = Presence(belt(0)).find_all(in_shadow(with_part(belt(5), colour), left, 8))
    assert [iou(one.box, PART) > 0.6 for one in found] == [True]


@pytest.mark.parametrize("level", [12, 25, 40, 55, 65])
def test_a_plain_dark_part_without_colour_is_no_shadow(level: int) -> None:
    found = Presence(belt(0)).find_all(with_part(belt(5), (level, level, level)))
    assert [iou(one.box, PART) > 0.6 for one in found] == [True]

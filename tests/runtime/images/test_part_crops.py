"""A part's picture shows the part, and nothing of its neighbours, whatever locates it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.parts import empty_belt

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.locating import Found
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.presence import Presence, crop_around

RED, GREEN = (40, 40, 220), (40, 200, 40)


def two_discs(gain: float = 1.0) -> Image:
    """A red disc and a green one on the moved belt, all but touching, in some light."""
    image = empty_belt(90)
    cv2.circle(image, (250, 240), 60, RED, -1)
    cv2.circle(image, (345, 280), 40, GREEN, -1)
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def share(picture: Image, channel: int) -> float:
    """How much of a picture has one colour clearly before the others."""
    rest = picture.astype(int).copy()
    rest[..., channel] = 0
    return float((picture[..., channel].astype(int) > rest.max(axis=2) + 60).mean())


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.15])
def test_a_part_is_shown_without_its_neighbour_on_the_empty_scene(gain: float) -> None:
    image, presence = two_discs(gain), Presence(empty_belt())
    red, green = presence.find_all(image)
    for part, own, other in ((red, 2, 1), (green, 1, 2)):
        before = crop_around(image, part.box)
        crop = crop_alone(image, part, [red, green], presence.scene)
        assert crop.shape == before.shape
        assert share(before, other) > 0.01
        assert share(crop, other) == 0
        assert share(crop, own) > 0.97 * share(before, own)
        corner, belt = crop[:12, :12].mean(), image[100:140, 40:600].mean()
        assert abs(corner - belt) < 0.2 * belt


def test_without_the_empty_scene_neighbours_take_the_colour_around() -> None:
    image = two_discs()
    red, green = Presence(empty_belt()).find_all(image)
    crop = crop_alone(image, red, [red, green])
    assert share(crop, 1) == 0
    untouched = crop_alone(image, red, [red])
    assert np.array_equal(untouched, crop_around(image, red.box))


def test_a_detectors_neighbours_are_hidden_by_their_boxes_but_not_within_the_part() -> None:
    image = two_discs()
    red, green = Found((190, 180, 310, 300), True), Found((305, 240, 385, 320), True)
    crop = crop_alone(image, red, [red, green])
    assert share(crop, 1) < 0.005 < 0.02 < share(crop_around(image, red.box), 1)
    x0, y0 = 250 - crop.shape[1] // 2, 240 - crop.shape[0] // 2
    inside = np.s_[185 - y0 : 295 - y0, 195 - x0 : 300 - x0]
    assert np.array_equal(crop[inside], crop_around(image, red.box)[inside])


def test_where_neighbours_leave_no_scene_they_become_grey() -> None:
    image = np.full((80, 80, 3), 200, np.uint8)
    part = Found((30, 30, 50, 50), True)
    crop = crop_alone(image, part, [Found((0, 0, 80, 80), True)], margin=2.0)
    assert set(np.unique(crop)) == {128, 200}


def test_the_empty_scene_may_be_of_another_size() -> None:
    image = two_discs(0.85)
    presence = Presence(cv2.resize(empty_belt(), (320, 240), interpolation=cv2.INTER_AREA))
    red, green = presence.find_all(image)
    crop = crop_alone(image, red, [red, green], presence.scene)
    assert share(crop, 1) == 0
    assert abs(crop[:12, :12].mean() - image[100:140, 40:600].mean()) < 0.2 * image.mean()


def test_a_part_without_neighbours_is_shown_as_it_is() -> None:
    image, presence = two_discs(), Presence(empty_belt())
    red, _ = presence.find_all(image)
    assert np.array_equal(
        crop_alone(image, red, [red], presence.scene), crop_around(image, red.box)
    )

"""Presence: what is new in a scene, whatever the light does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images.presence import Presence, crop_around


def empty_scene(seed: int = 0) -> Image:
    """A dark, textured belt."""
    noise = np.random.default_rng(seed).normal(60, 8, (300, 300, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def with_part(scene: Image, x: int, y: int, side: int = 90) -> Image:
    image = scene.copy()
    cv2.rectangle(image, (x, y), (x + side, y + side), (190, 200, 210), -1)
    return image


def test_an_empty_scene_is_empty_although_noise_and_light_changed() -> None:
    presence = Presence(empty_scene())
    for gain in (0.75, 1.0, 1.25):
        other = np.clip(empty_scene(seed=5) * gain, 0, 255).astype(np.uint8)
        assert presence.find(other) is None


def test_a_part_is_found_where_it_lies() -> None:
    found = Presence(empty_scene()).find(with_part(empty_scene(1), 80, 120))
    assert found is not None
    assert found.complete
    assert np.abs(np.array(found.box) - (80, 120, 170, 210)).max() <= 10


def test_a_part_in_other_light_is_found_too() -> None:
    scene = np.clip(with_part(empty_scene(1), 80, 120) * 0.8, 0, 255).astype(np.uint8)
    found = Presence(empty_scene()).find(scene)
    assert found is not None
    assert found.complete


@pytest.mark.parametrize(("x", "y"), [(-30, 100), (250, 100), (100, -40), (100, 260)])
def test_a_part_at_the_border_is_not_complete(x: int, y: int) -> None:
    found = Presence(empty_scene()).find(with_part(empty_scene(1), x, y))
    assert found is not None
    assert not found.complete


def test_the_next_part_at_the_border_does_not_hide_the_one_in_the_middle() -> None:
    scene = with_part(with_part(empty_scene(1), 100, 100), -70, 100)
    found = Presence(empty_scene()).find(scene)
    assert found is not None
    assert found.complete
    assert found.box[0] > 80


def test_a_speck_is_no_part() -> None:
    assert Presence(empty_scene()).find(with_part(empty_scene(1), 150, 150, side=12)) is None


def test_the_empty_scene_must_be_an_image() -> None:
    with pytest.raises(ImageError, match="empty scene"):
        Presence(np.zeros((10, 10), np.uint8))


def test_a_crop_is_the_square_around_its_box() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[80:120, 100:180] = 255
    crop = crop_around(image, (100, 80, 180, 120), margin=1.25)
    assert crop.shape == (100, 100, 3)
    assert crop.sum() == image.sum()


def test_a_crop_at_the_corner_stays_inside_the_image() -> None:
    image = np.arange(200 * 300 * 3, dtype=np.uint32).reshape(200, 300, 3).astype(np.uint8)
    crop = crop_around(image, (260, 150, 300, 200), margin=2.0)
    assert np.array_equal(crop, image[100:200, 200:300])


def test_a_crop_is_never_larger_than_the_image() -> None:
    assert crop_around(np.zeros((50, 80, 3), np.uint8), (0, 0, 80, 50), 3.0).shape == (50, 50, 3)

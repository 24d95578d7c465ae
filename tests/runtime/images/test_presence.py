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
    assert Presence(empty_scene()).find(with_part(empty_scene(1), 150, 150, side=7)) is None


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


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95])
@pytest.mark.parametrize("gain", [0.8, 1.25])
def test_a_part_is_found_however_much_of_the_view_it_fills(share: float, gain: float) -> None:
    side = round(300 * share)
    x, y = (300 - side) // 2, (300 - side) // 2 + (side < 200) * 20
    scene = np.clip(with_part(empty_scene(1), x, y, side - 1) * gain, 0, 255).astype(np.uint8)
    (found,) = Presence(empty_scene()).find_all(scene)
    assert found.complete
    assert iou(found.box, (x, y, x + side, y + side)) > 0.6


def test_every_part_is_found_from_left_to_right_and_those_at_the_border_are_not_complete() -> None:
    scene = empty_scene(1)
    for x, y in ((200, 20), (20, 30), (-30, 200), (120, 190)):
        scene = with_part(scene, x, y, 60)
    found = Presence(empty_scene()).find_all(scene)
    assert [one.complete for one in found] == [False, True, True, True]
    assert [round(one.box[0], -1) for one in found] == [0, 20, 120, 200]


@pytest.mark.parametrize("seed", range(5))
def test_parts_that_touch_are_taken_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene, places, x = empty_scene(seed), [], 20
    for _ in range(4):
        radius, y = int(rng.integers(25, 33)), 150 + int(rng.integers(-10, 11))
        x += radius
        colour = [float(value) for value in rng.integers(130, 250, 3)]
        cv2.circle(scene, (x, y), radius, colour, -1)
        places.append((x - radius, y - radius, x + radius, y + radius))
        x += radius + 1
    found = Presence(empty_scene(9)).find_all(scene)
    assert len(found) == 4
    assert all(iou(a.box, b) > 0.6 for a, b in zip(found, places, strict=True))


def test_a_part_with_a_narrow_waist_of_its_own_stays_one_up_to_a_stated_neck() -> None:
    scene = empty_scene(1)
    cv2.rectangle(scene, (60, 100), (120, 160), (200, 200, 200), -1)
    cv2.rectangle(scene, (120, 105), (180, 155), (200, 200, 200), -1)
    cv2.rectangle(scene, (180, 100), (240, 160), (200, 200, 200), -1)
    assert len(Presence(empty_scene()).find_all(scene)) == 1


def test_the_empty_scene_follows_the_light_and_not_a_part_that_stays() -> None:
    presence = Presence(empty_scene())
    drift = np.linspace(0, 40, 300)[None, :, None]  # one side becomes brighter
    for step in np.linspace(0, 1, 150):
        lit = np.clip(empty_scene(3) + drift * step, 0, 255).astype(np.uint8)
        assert presence.find_all(lit) == []
    lit = np.clip(empty_scene(4) + drift, 0, 255).astype(np.uint8)
    for _ in range(100):
        assert len(presence.find_all(with_part(lit, 100, 100))) == 1


def iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = sum((q[2] - q[0]) * (q[3] - q[1]) for q in (a, b))
    return width * height / (both - width * height)


def test_an_empty_picture_of_another_size_is_said_and_parts_are_found_all_the_same() -> None:
    small = cv2.resize(empty_scene(), (150, 150), interpolation=cv2.INTER_AREA)
    presence = Presence(small)
    assert presence.doubt is None
    (found,) = presence.find_all(with_part(empty_scene(1), 80, 120))
    assert iou(found.box, (80, 120, 170, 210)) > 0.6
    assert presence.doubt is not None
    assert "150x150" in presence.doubt and "300x300" in presence.doubt


def test_an_old_empty_picture_is_said_and_no_longer_once_it_fits() -> None:
    presence = Presence(empty_scene())
    ramp = np.tile((np.arange(300) % 250).astype(np.uint8), (300, 1))
    other = cv2.applyColorMap(ramp, cv2.COLORMAP_JET)
    for _ in range(30):
        presence.find_all(other)
    assert presence.doubt is not None
    assert "old" in presence.doubt
    presence.find_all(empty_scene(2))
    assert presence.doubt is None

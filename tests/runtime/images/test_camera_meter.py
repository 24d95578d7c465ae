"""The camera's meters say the same at every size, in any light, and see a smear of 3 %."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest

from vision_edge.demo.conveyor import ConveyorConfig, render_snapshot
from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images.camera_meter import read_meters
from vision_edge.runtime.images.quality import MIN_SHARPNESS

SIZES = [(320, 240), (640, 480), (1280, 720), (3840, 2160)]
LABELS = ("hex_nut", "pipe_elbow")


@lru_cache(maxsize=16)
def shot(label: str, size: tuple[int, int] = (640, 480), seed: int = 9) -> np.ndarray:
    width, height = size
    return render_snapshot(label, seed, ConveyorConfig(seed=3, width=width, height=height))[0]


def noisy(image: np.ndarray, level: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, level, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("label", "size"), [(LABELS[k % 2], size) for k, size in enumerate(SIZES)], ids=str
)
def test_sharpness_falls_with_blur_and_hardly_changes_with_size(
    label: str, size: tuple[int, int]
) -> None:
    image = shot(label, size)
    side = min(image.shape[:2])
    found = [
        read_meters(cv2.GaussianBlur(image, (0, 0), max(blur * side, 1e-2))).sharpness
        for blur in (0.0, 0.003, 0.006, 0.012, 0.03)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.4
    assert found[1] > 1.5 * MIN_SHARPNESS
    assert max(found[3:]) < MIN_SHARPNESS / 2


@pytest.mark.parametrize("gain", [0.125, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("label", LABELS)
def test_light_is_told_by_its_ends(label: str, gain: float) -> None:
    image = shot(label)
    lit = read_meters(np.clip(image * gain, 0, 255).astype(np.uint8))
    plain = read_meters(image)
    assert lit.brightest == pytest.approx(min(255, gain * plain.brightest), abs=60)
    assert (lit.white > 0.05) == (gain >= 2)
    assert (lit.black > 0.25) == (gain <= 0.125)
    assert lit.sharpness > MIN_SHARPNESS, "focus does not depend on light"


@pytest.mark.parametrize("size", SIZES[:2], ids=str)
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_smear_is_seen_and_measured(size: tuple[int, int], axis: str) -> None:
    seen = []
    for label, seed in (("hex_nut", 9), ("pipe_elbow", 9), ("hex_nut", 2), ("pipe_elbow", 4)):
        image = shot(label, size, seed)
        pixels = round(0.045 * min(image.shape[:2]))
        kernel = (pixels, 1) if axis == "x" else (1, pixels)
        meters = read_meters(noisy(cv2.blur(image, kernel)))
        seen += [meters.smear] if meters.along == axis else []
        assert read_meters(noisy(image)).along is None
    assert len(seen) >= 3
    assert all(0.02 <= smear <= 0.07 for smear in seen)


def test_what_shows_nothing_is_not_smeared() -> None:
    plain = np.full((200, 300, 3), 128, np.uint8)
    meters = read_meters(noisy(plain))
    assert (meters.smear, meters.along) == (0.0, None)
    with pytest.raises(ImageError):
        read_meters(np.zeros((0, 4, 3), np.uint8))

"""Reduction of a part of a picture: OpenCV's area averages within one level, at any size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_edge.runtime.images.area_reduction import Span, area_reduced
from vision_edge.runtime.images.crops import FRAME_CROPS, cropped, middle
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare

SIZES = [
    (160, 120), (225, 224), (300, 300), (321, 241), (640, 480), (241, 1001), (1280, 720),
    (720, 1280), (1279, 719), (1920, 1080), (3840, 2160),
]  # fmt: skip


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)


def whole_reduced(image: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """Return the centre of all of the picture as OpenCV scales it."""
    height, width = image.shape[:2]
    short = max(spec.size, round(spec.size / spec.crop_pct))
    scale = short / min(height, width)
    target = (max(short, round(width * scale)), max(short, round(height * scale)))
    kernel = cv2.INTER_AREA if target[0] < width else cv2.INTER_CUBIC
    resized = cv2.resize(image, target, interpolation=kernel)
    top, left = (resized.shape[0] - spec.size) // 2, (resized.shape[1] - spec.size) // 2
    return resized[top : top + spec.size, left : left + spec.size]


def apart(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("spec", [PreprocessSpec(), PreprocessSpec(size=96, crop_pct=0.875)])
def test_a_frame_is_prepared_as_opencv_scales_it(
    size: tuple[int, int], spec: PreprocessSpec
) -> None:
    image = noise(*size)
    assert apart(prepare(image, spec), whole_reduced(image, spec)) <= 1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(20, 700), st.integers(20, 700), st.integers(8, 400), st.floats(0.3, 1.0))
def test_at_any_size_and_crop(width: int, height: int, side: int, crop: float) -> None:
    spec, image = PreprocessSpec(size=side, crop_pct=crop), noise(width, height)
    assert apart(prepare(image, spec), whole_reduced(image, spec)) <= 1


@pytest.mark.parametrize("share", FRAME_CROPS)
def test_the_middle_of_a_frame_is_prepared_without_a_copy(share: float) -> None:
    image, spec = noise(801, 603), PreprocessSpec()
    assert np.shares_memory(middle(image, share), image)
    assert apart(prepare(middle(image, share), spec), prepare(cropped(image, share), spec)) == 0


def test_turned_and_mirrored_views_are_prepared_like_their_copies() -> None:
    image, spec = noise(640, 480), PreprocessSpec(size=100)
    for view in (image[::-1], image[:, ::-1], np.rot90(image), image[7:400:2, 5:600]):
        assert apart(prepare(view, spec), prepare(np.ascontiguousarray(view), spec)) == 0


def test_a_plain_picture_stays_plain_and_white_stays_white() -> None:
    for level in (0, 1, 127, 254, 255):
        image = np.full((500, 700, 3), level, np.uint8)
        assert (prepare(image, PreprocessSpec()) == level).all()


def test_each_target_pixel_is_the_mean_of_what_it_covers() -> None:
    image = noise(30, 20)
    got = area_reduced(image, Span(20, 4, 1, 2), Span(30, 10, 3, 5))
    want = image[5:15, 9:24].reshape(2, 5, 5, 3, 3).mean(axis=(1, 3))
    assert np.abs(got - want).max() <= 0.5 + 1e-3

"""The quality gate: good pictures pass, and each thing that is wrong is named with its value."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import noisy, picture

from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.images.quality import MIN_SHARPNESS, inspect_picture


def scene(seed: int = 0) -> Any:
    """Return a picture with coarse and fine detail: uint8 (240, 320, 3)."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 60, (240, 320, 3))
    coarse = cv2.GaussianBlur(rng.normal(0, 900, (240, 320, 3)), (0, 0), 8)
    fine = cv2.GaussianBlur(image, (0, 0), 1)
    return np.clip(120 + coarse + fine, 0, 255).astype(np.uint8)


def kinds(image: Any, presence: Presence | None = None) -> list[str]:
    return [finding.kind for finding in inspect_picture(image, presence)]


def test_a_good_picture_passes() -> None:
    assert kinds(scene()) == []
    assert kinds(noisy(picture(1, 96), 1)) == []


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda image: (image * 0.12).astype(np.uint8), "dark"),
        (lambda image: np.maximum(image, 252), "bright"),
        (lambda image: np.full_like(image, 128), "blank"),
        (lambda image: (image // 40 + 120).astype(np.uint8), "blank"),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 4), "blurred"),
        (lambda image: image[:50, :50], "small"),
        (lambda image: image[:1, :1], "small"),
    ],
)
def test_what_is_wrong_is_named(spoil: Any, kind: str) -> None:
    (finding,) = inspect_picture(np.ascontiguousarray(spoil(scene())))
    assert finding.kind == kind
    assert any(character.isdigit() for character in finding.message)
    assert finding.fix


@pytest.mark.parametrize("contrast", [0.7, 1.0])
@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
def test_blur_is_judged_whatever_contrast_and_resolution(contrast: float, scale: float) -> None:
    image = cv2.resize(scene(), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    image = (image * contrast + 90 * (1 - contrast)).astype(np.uint8)
    assert kinds(image) == []
    assert kinds(cv2.GaussianBlur(image, (0, 0), 4 * scale)) == ["blurred"]


@pytest.mark.parametrize("share", [0.015, 0.03, 0.06, 0.12, 0.25])
def test_no_blur_is_so_strong_that_it_passes_again(share: float) -> None:
    """Without the correction for rounding, blurs of a twentieth of the short side and more did."""
    for image in (scene(1), picture(1, 96), noisy(picture(2, 240), 3)):
        blurred = cv2.GaussianBlur(image, (0, 0), share * min(image.shape[:2]))
        assert kinds(blurred) in (["blurred"], ["blank"])


def with_part(x: int) -> Any:
    """Return an empty belt with a bright part whose left edge is at x."""
    image = np.full((240, 320, 3), 60, np.uint8)
    image += np.random.default_rng(0).integers(0, 12, image.shape, dtype=np.uint8)
    if x < 320:
        image[80:160, max(x, 0) : x + 90] = noisy(picture(3, 80), 1)[:, :90].mean() * 0 + 200
        image[100:140, max(x, 0) + 20 : max(x, 0) + 60] = 20
    return image


def test_a_part_that_is_absent_or_cut_off_is_noticed_where_the_empty_scene_is_known() -> None:
    presence = Presence(with_part(999))
    assert kinds(with_part(100), presence) == []
    assert kinds(with_part(-30), presence) == ["cut off"]
    empty = with_part(999)
    empty[::7] += 60  # a belt with stripes is not blank, but nothing lies on it
    assert kinds(empty, Presence(empty)) == ["absent"]


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageError):
        inspect_picture(np.zeros((100, 100), np.uint8))
    assert 0 < MIN_SHARPNESS < 1

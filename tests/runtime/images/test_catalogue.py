"""A catalogue picture: the product is cut out, and the kept picture says what it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runtime import picture

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images.catalogue import (
    CATALOGUE_SIDE,
    catalogue_views,
    cut_out,
    encode_catalogue,
    inspect_catalogue,
    is_catalogue,
)
from vision_edge.runtime.images.coding import decode_image, encode_jpeg
from vision_edge.runtime.images.crops import CROPS, cropped


def on_white(
    side: int = 200, box: tuple[int, int, int, int] = (50, 40, 150, 170), level: int = 255
) -> Image:
    """A coloured patchwork on a plain background; `box` is x0, y0, x1, y1."""
    image = np.full((side, side, 3), level, np.uint8)
    x0, y0, x1, y1 = box
    patch = np.minimum(picture(3, 64), max(0, level - 60))
    image[y0:y1, x0:x1] = cv2.resize(patch, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST)
    return image


@settings(max_examples=30)
@given(
    level=st.sampled_from([255, 250, 200, 128]),
    left=st.integers(5, 90),
    top=st.integers(5, 90),
    width=st.integers(30, 100),
    height=st.integers(30, 100),
)
def test_the_product_is_cut_out_wherever_it_lies_and_whatever_grey_is_plain(
    level: int, left: int, top: int, width: int, height: int
) -> None:
    box = (left, top, left + width, top + height)
    cut = cut_out(on_white(200, box, level))
    assert (cut.background == level).all()
    assert cut.image.shape[:2] == cut.alpha.shape
    assert abs(cut.image.shape[0] - height) <= 2
    assert abs(cut.image.shape[1] - width) <= 2
    assert cut.alpha.mean() > 0.8  # the product fills its box
    assert cut.alpha.min() >= 0
    assert cut.alpha.max() <= 1


def test_what_the_product_encloses_is_not_background() -> None:
    image = on_white()
    image[90:110, 90:110] = 255  # a white label in its middle
    alpha = cut_out(image).alpha
    assert alpha[55:65, 45:55].min() > 0.99


def test_a_speck_beside_the_product_is_left_out() -> None:
    image = on_white()
    image[5:9, 5:9] = 0
    assert abs(cut_out(image).image.shape[0] - 130) <= 2


def test_a_photograph_is_no_catalogue_picture_and_is_told_so() -> None:
    (finding,) = inspect_catalogue(picture(1, 96))
    assert finding.kind == "background"
    assert "no plain background" in finding.message
    assert "without --catalogue" in finding.fix


def test_an_empty_page_and_a_speck_are_refused() -> None:
    assert [f.kind for f in inspect_catalogue(np.full((200, 200, 3), 255, np.uint8))] == ["blank"]
    with pytest.raises(ImageError, match="nothing on its plain background"):
        cut_out(on_white(200, (90, 90, 98, 98)))


def test_white_all_around_is_not_burnt_out() -> None:
    """As of a snapshot it would be; a catalogue picture may well be three quarters white."""
    assert inspect_catalogue(on_white(200, (60, 60, 140, 140))) == []


@pytest.mark.parametrize("box", [(50, 40, 150, 170), (2, 95, 198, 105), (95, 2, 105, 198)])
def test_the_views_show_it_framed_nearer_turned_within_and_among_its_kind(
    box: tuple[int, int, int, int],
) -> None:
    image = on_white(200, box)
    views = catalogue_views(image)
    framed, within, many = views[0], views[4], views[5]
    assert len(views) == 6
    assert all(view.dtype == np.uint8 and min(view.shape[:2]) >= 1 for view in views)
    assert abs(framed.shape[0] - max(box[2] - box[0], box[3] - box[1])) <= 2
    assert np.array_equal(views[3], np.rot90(framed))
    assert (within < 250).all(axis=2).mean() > 0.95  # nothing but product
    covered = (many.min(axis=2) < 245).mean()
    assert covered > 0.3
    again = catalogue_views(image)
    assert all(np.array_equal(a, b) for a, b in zip(views, again, strict=True))


def test_without_a_plain_background_the_views_are_those_of_a_snapshot() -> None:
    image = picture(1, 96)
    views = catalogue_views(image)
    assert len(views) == len(CROPS)
    for view, share in zip(views, CROPS, strict=True):
        assert np.array_equal(view, cropped(image, share))


@pytest.mark.parametrize("side", [64, 640, 2000])
def test_the_kept_jpeg_says_that_it_is_a_catalogues(side: int) -> None:
    image = on_white(side, (side // 4, side // 4, side // 4 * 3, side // 4 * 3))
    jpeg = encode_catalogue(image)
    assert is_catalogue(jpeg)
    kept = decode_image(jpeg, "kept")
    assert kept.shape[0] == min(side, CATALOGUE_SIDE)
    assert not is_catalogue(encode_jpeg(kept))  # what is encoded anew is a picture like any other
    assert not is_catalogue(b"")

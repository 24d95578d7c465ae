"""One preprocessing: geometry, kinds refused, and nothing guessed from pixel values."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images import coding
from vision_edge.runtime.images.coding import decode_image, encode_jpeg, read_image
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare

KERNELS = ["bilinear", "bicubic"]


def ramp(height: int, width: int, across: bool = True) -> np.ndarray[Any, Any]:
    """Return an image whose value rises from 0 to 255 along one side, and is 9 in channel 2."""
    long = width if across else height
    line = np.round(np.arange(long) * 255.0 / (long - 1)).astype(np.uint8)
    plane = np.broadcast_to(line if across else line[:, None], (height, width))
    return np.ascontiguousarray(np.stack([plane, plane, np.full_like(plane, 9)], axis=2))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize(
    ("short", "long", "size", "crop_pct"),
    [
        (64, 256, 32, 1.0),  # down, wide
        (96, 96, 32, 1.0),  # down, square
        (80, 96, 32, 0.5),  # down, with a crop
        (16, 64, 32, 1.0),  # up, wide
        (32, 128, 32, 1.0),  # same scale, only cropped
        (20, 20, 32, 0.4),  # up, with a crop
        (77, 131, 30, 0.875),  # no whole numbers anywhere
    ],
)
def test_the_centre_square_of_the_scaled_image_is_taken(
    short: int, long: int, size: int, crop_pct: float, across: bool, kernel: Any
) -> None:
    image = ramp(short, long) if across else ramp(long, short, across=False)
    spec = PreprocessSpec(size=size, crop_pct=crop_pct, interpolation=kernel)
    got = prepare(image, spec)
    assert got.shape == (size, size, 3)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    # Pixel k of the result looks at this place of the long side, in its pixels:
    scale = size / crop_pct / short
    place = ((np.arange(size) + 0.5 - size / 2) / scale) + long / 2 - 0.5
    expected = np.clip(place, 0, long - 1) * 255.0 / (long - 1)
    line = got[size // 2, :, 0] if across else got[:, size // 2, 0]
    step = 255.0 / (long - 1) / scale
    assert np.abs(line - expected).max() <= step + 1.0
    assert (got[:, :, 2] == 9).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_reducing_averages_every_pixel(kernel: Any) -> None:
    """A kernel of a few pixels would miss the bright one in four, or see nothing else."""
    image = np.zeros((64, 64, 3), np.uint8)
    for phase in range(4):
        striped = image.copy()
        striped[:, phase::4] = 200
        got = prepare(striped, PreprocessSpec(size=16, interpolation=kernel))
        assert (got == 50).all()


@settings(max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.sampled_from([8, 17, 32]),
    crop_pct=st.floats(0.3, 1.0),
    kernel=st.sampled_from(KERNELS),
    value=st.integers(0, 255),
)
def test_any_size_of_a_plain_image_gives_the_same_plain_square(
    height: int, width: int, size: int, crop_pct: float, kernel: Any, value: int
) -> None:
    spec = PreprocessSpec(size=size, crop_pct=crop_pct, interpolation=kernel)
    got = prepare(np.full((height, width, 3), value, np.uint8), spec)
    assert got.shape == (size, size, 3)
    assert (got == value).all()


def test_an_image_of_the_models_size_passes_unchanged(rng_image: np.ndarray[Any, Any]) -> None:
    assert np.array_equal(prepare(rng_image, PreprocessSpec(size=32)), rng_image)
    view = rng_image[:, ::-1]
    got = prepare(view, PreprocessSpec(size=32))
    assert got.flags.c_contiguous
    assert np.array_equal(got, view)


@pytest.fixture
def rng_image() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [16, 24, 50])
def test_a_view_is_prepared_like_its_copy(rng_image: np.ndarray[Any, Any], size: int) -> None:
    spec = PreprocessSpec(size=size)
    for view in (rng_image[::-1], rng_image[:, :, ::-1], rng_image[::2, 3:29]):
        assert np.array_equal(prepare(view, spec), prepare(view.copy(), spec))


def test_the_caller_keeps_its_image(rng_image: np.ndarray[Any, Any]) -> None:
    before = rng_image.copy()
    for size in (16, 32, 48):
        prepare(rng_image, PreprocessSpec(size=size))
    assert np.array_equal(rng_image, before)


@pytest.mark.parametrize("size", [8, 24, 96])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_nearly_black_frame_is_scaled_like_any_other(size: int, kernel: Any) -> None:
    spec = PreprocessSpec(size=size, interpolation=kernel)
    dark = np.random.default_rng(3).integers(0, 2, (48, 64, 3), dtype=np.uint8)  # only 0 and 1
    bright = dark * np.uint8(200)
    got_dark, got_bright = prepare(dark, spec).astype(float), prepare(bright, spec) / 200.0
    assert got_dark.max() <= 2  # not stretched to 255
    between = (got_bright > 0.05) & (got_bright < 0.95)  # elsewhere bicubic clips at 0
    assert np.abs(got_dark - got_bright)[between].max() <= 0.51


def test_adding_light_adds_as_much_to_the_result() -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(20, 100, (60, 80, 3), dtype=np.uint8)
    spec = PreprocessSpec(size=32, interpolation="bilinear")
    difference = prepare(image + np.uint8(100), spec).astype(int) - prepare(image, spec)
    assert set(np.unique(difference)) <= {99, 100, 101}


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.int64),
        np.zeros((8, 8, 3), bool),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
    ],
    ids=lambda image: f"{image.dtype}{image.shape}",
)
def test_what_is_no_image_is_refused_by_type_and_shape(image: Any) -> None:
    for action in (lambda: prepare(image, PreprocessSpec()), lambda: encode_jpeg(image)):
        with pytest.raises(ImageError) as caught:
            action()
        assert f"got {image.dtype} {image.shape}" in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 100_000, 3), (100_000, 1, 3)])
def test_a_hair_of_an_image_is_refused_before_it_fills_the_memory(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="too long and narrow"):
        prepare(np.zeros(shape, np.uint8), PreprocessSpec(size=224))


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 4},
        {"size": 5000},
        {"crop_pct": 0.0},
        {"crop_pct": 1.1},
        {"crop_pct": float("nan")},
        {"interpolation": "nearest"},
        {"std": (1.0, 1.0, 0.0)},
        {"mean": (0.5, 0.5, float("inf"))},
        {"mean": (0.5, 0.5)},
        {"colour": "rgb"},
    ],
)
def test_a_bad_setting_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        PreprocessSpec(**fields)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PreprocessSpec().size = 99  # type: ignore[misc]


def encoded(image: Any, suffix: str) -> bytes:
    done, buffer = cv2.imencode(suffix, image)
    assert done
    return bytes(buffer.tobytes())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp"])
def test_lossless_formats_come_back_as_they_were(suffix: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    if suffix == ".webp":
        done, buffer = cv2.imencode(suffix, image, [cv2.IMWRITE_WEBP_QUALITY, 101])
        assert done
        data = buffer.tobytes()
    else:
        data = encoded(image, suffix)
    assert np.array_equal(decode_image(data, "x"), image)


def test_grey_becomes_three_equal_channels() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (7, 5), dtype=np.uint8)
    got = decode_image(encoded(grey, ".png"), "x")
    assert np.array_equal(got, np.stack([grey] * 3, axis=2))


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = np.array([[[0, 0x0100, 0xFFFF], [0x8000, 0x7F00, 0xAB00]]], np.uint16)
    got = decode_image(encoded(deep, ".png"), "x")
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - [[[0, 1, 255], [128, 127, 171]]]).max() <= 1


def test_a_jpeg_for_print_has_the_colours_it_had() -> None:
    """CMYK, as print shops and some scanners save; OpenCV converts it."""
    pillow = pytest.importorskip("PIL.Image")
    red = pillow.new("RGB", (16, 16), (200, 40, 20)).convert("CMYK")
    buffer = io.BytesIO()
    red.save(buffer, "JPEG", quality=95)
    got = decode_image(buffer.getvalue(), "x")
    assert got.shape == (16, 16, 3)
    assert np.abs(got.astype(int) - (20, 40, 200)).max() < 20


def test_one_pixel_is_an_image() -> None:
    image = np.array([[[1, 2, 3]]], np.uint8)
    assert np.array_equal(decode_image(encoded(image, ".png"), "x"), image)
    assert decode_image(encode_jpeg(image), "x").shape == (1, 1, 3)
    assert (prepare(image, PreprocessSpec(size=8)) == (1, 2, 3)).all()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Return a JPEG with an EXIF block put after its first marker: one entry, tag 0x0112."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda image: image),
        (3, lambda image: np.rot90(image, 2)),
        (6, lambda image: np.rot90(image, -1)),
        (8, lambda image: np.rot90(image)),
        (2, lambda image: image[:, ::-1]),
    ],
)
def test_the_orientation_in_exif_is_applied(orientation: int, turn: Any) -> None:
    image = np.full((16, 32, 3), 40, np.uint8)
    image[:8, :8] = 220  # a bright corner: top left
    got = decode_image(with_orientation(encode_jpeg(image, 100), orientation), "x")
    expected = turn(image)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"hello" * 50, b"\xff\xd8\xff\xe0", b"\x89PNG"])
def test_what_cannot_be_decoded_is_named(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^shot\.png: .*(empty|decode|cut short)"):
        decode_image(data, "shot.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("left", [0.02, 0.5, 0.99, -1])
def test_a_truncated_file_is_refused(suffix: str, left: float) -> None:
    """OpenCV 4 decodes the rest of a truncated JPEG from whatever its memory holds."""
    data = encoded(prepare(ramp(64, 96), PreprocessSpec(size=224)), suffix)
    assert decode_image(data, "x").shape == (224, 224, 3)
    with pytest.raises(ImageError, match=r"^x: .*(cut short|decode)"):
        decode_image(data[: round(left * len(data)) if left > 0 else -1], "x")


def test_the_end_of_a_thumbnail_is_not_taken_for_the_end_of_the_image() -> None:
    image = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    thumbnail, jpeg = encode_jpeg(image[:8, :8]), encode_jpeg(image)
    block = b"\xff\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail  # with a fill byte
    data = jpeg[:2] + block + jpeg[2:]
    assert np.array_equal(decode_image(data + b"trailer", "x"), decode_image(jpeg, "x"))
    with pytest.raises(ImageError, match="cut short"):
        decode_image(data[:-200], "x")


def test_an_image_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "MAX_PIXELS", 99)
    assert decode_image(encoded(np.zeros((9, 11, 3), np.uint8), ".png"), "x").shape == (9, 11, 3)
    with pytest.raises(ImageError, match="10x10 pixels is over the limit of 99"):
        decode_image(encoded(np.zeros((10, 10, 3), np.uint8), ".png"), "x")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for path, reason in [
        (tmp_path / "absent.png", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "empty.png", "empty"),
    ]:
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(path)
        assert str(path) in str(caught.value)


def test_a_file_is_read_as_its_bytes_are_decoded(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    path = tmp_path / "Stück ⚙.png"
    path.write_bytes(encoded(image, ".png"))
    assert np.array_equal(read_image(path), image)
    assert np.array_equal(read_image(str(path)), image)


def test_jpeg_is_close_to_the_image_and_better_with_quality() -> None:
    image = cv2.GaussianBlur(
        np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8), (0, 0), 2
    )
    errors = [
        np.abs(decode_image(encode_jpeg(image, quality), "x").astype(int) - image).mean()
        for quality in (100, 95, 20)
    ]
    assert errors[0] < errors[1] < errors[2]
    assert errors[1] < 3.0
    assert encode_jpeg(image) == encode_jpeg(image, 95)

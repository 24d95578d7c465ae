"""Encoded pictures: decoding, with every check before a pixel is believed, and encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import ImageError, require

MAX_PIXELS = 100_000_000


def decode_image(data: bytes, name: str) -> Image:
    """Decode an encoded image (JPEG, PNG, WebP, BMP, ...) to BGR.

    Grey images become three equal channels, alpha is dropped, 16-bit is scaled to 8, and EXIF
    orientation is applied.

    Args:
        data: The encoded file's bytes.
        name: What to call it in an error.

    Returns:
        uint8 (H, W, 3), BGR, 0 to 255.

    Raises:
        ImageError: If the bytes are empty, cut short, cannot be decoded, or hold too many pixels.
    """
    cv2 = require("cv2")
    if not data:
        raise ImageError(f"{name}: the file is empty", fix="replace or remove it")
    if is_jpeg(data) and _is_cut_short(data):
        raise ImageError(
            f"{name}: a JPEG that is cut short ({len(data)} bytes)", fix="copy or take it again"
        )
    _check_pixels(jpeg_size(data) or (0, 0), name)  # a small file may claim gigabytes of pixels
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded ({error.err})", fix="re-save it") from None
    if image is None or image.size == 0:
        raise ImageError(
            f"{name}: not an image that OpenCV can decode ({len(data)} bytes)",
            fix="replace or remove it; JPEG, PNG, WebP, BMP and TIFF are read",
        )
    _check_pixels((image.shape[1], image.shape[0]), name)
    decoded: Image = image
    return decoded


def is_jpeg(data: bytes) -> bool:
    """Whether an encoded image is a JPEG, by its first bytes."""
    return data[:3] == b"\xff\xd8\xff"


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height as a JPEG's header says, or None if it is no well-formed JPEG."""
    at = 2 if is_jpeg(data) else len(data)
    while len(data) >= at + 9 and data[at] == 0xFF and data[at + 1] not in (0xD9, 0xDA):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _check_pixels(size: tuple[int, int], name: str) -> None:
    """Refuse an image of too many pixels; `size` is (width, height)."""
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{name}: {size[0]}x{size[1]} pixels is over the limit of {MAX_PIXELS:,}",
            fix="crop or reduce it first",
        )


def _is_cut_short(data: bytes) -> bool:
    """Whether a JPEG lacks its end marker.

    OpenCV 5 refuses such a file; OpenCV 4 shows what it has, and makes up the rest.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":  # up to the pixels
        fill = data[at + 1 : at + 2] == b"\xff"
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) < 0


def read_image(path: Path | str) -> Image:
    """Read an image file as `decode_image` does.

    Raises:
        ImageError: If the file is absent, unreadable, empty or not an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror})", fix="check the path"
        ) from error
    return decode_image(data, str(path))


def encode_jpeg(image: Image, quality: int = 95) -> bytes:
    """Encode a BGR uint8 (H, W, 3) image as JPEG.

    Raises:
        ImageError: If the image is not valid or OpenCV cannot encode it.
    """
    check_image(image)
    cv2 = require("cv2")
    done, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(f"an image of shape {image.shape} could not be encoded as JPEG")
    return bytes(buffer.tobytes())

"""Encoded pictures: decoding, with every check before a pixel is believed, and encoding."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import ImageError, require
from vision_edge.runtime.images.damage import check_whole
from vision_edge.runtime.images.picture_header import Header, read_header
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading, as_seen

MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 30
"""Bytes of a picture's file: the pixels that are allowed, with 8 bytes each, and some more."""
_TURNED_BY_OPENCV = frozenset({"TIFF"})
"""Kinds that OpenCV turns upright itself, whatever it is told."""


def decode_image(
    data: bytes, name: str, reading: Reading = AS_IT_SAYS, *, damaged_too: bool = False
) -> Image:
    """Decode an encoded image to BGR; its kind is told by its content, never by its name.

    Grey images become three equal channels, transparent ones are laid on a colour (white, unless
    `reading` says another), orientation is applied, and 10 to 16 bits are scaled to 8 where it is
    known how many are in use. The header is read first: what holds too many pixels is refused
    before it is decoded.

    Args:
        data: The encoded file's bytes.
        name: What to call it in an error.
        reading: What the file does not say of itself.
        damaged_too: Take what the decoder makes of damaged data: for what was accepted before.

    Returns:
        uint8 (H, W, 3), BGR, 0 to 255, contiguous.

    Raises:
        ImageError: If the bytes are empty, cut short, damaged, of no kind that is read, hold too
            many pixels or several pictures, or are of a depth that nobody says.
    """
    if not data:
        raise ImageError(
            f"{name}: the file is empty", fix="replace or remove it", kind="empty file"
        )
    header = read_header(data, name)
    _check_pixels((header.width, header.height), name)
    if header.pictures > 1:
        raise ImageError(
            f"{name}: a {header.kind} that holds several pictures",
            fix="save them one by one",
            kind=_several(header.kind),
        )
    if not damaged_too:
        check_whole(data, header, name)
    pixels = _decoded(data, header, name)
    _check_pixels((pixels.shape[1], pixels.shape[0]), name)
    if header.kind in _TURNED_BY_OPENCV:
        header = replace(header, orientation=1)
    return as_seen(pixels, header, reading, name)


def _several(kind: str) -> str:
    """What a file of several pictures is counted as: pages of a TIFF, or a picture that moves."""
    return f"{kind} of several pictures" if kind == "TIFF" else f"animated {kind}"


def is_jpeg(data: bytes) -> bool:
    """Whether an encoded image is a JPEG, by its first bytes."""
    return data[:3] == b"\xff\xd8\xff"


def _decoded(data: bytes, header: Header, name: str) -> NDArray[np.generic]:
    """Decode as stored: with alpha and all its bits where it has them, and not turned."""
    cv2 = require("cv2")
    plain = header.bits <= 8 and not header.alpha
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if plain else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded ({error.err})", fix="re-save it") from None
    if pixels is None or pixels.size == 0:
        raise ImageError(
            f"{name}: a {header.kind} that OpenCV cannot decode ({len(data)} bytes): damaged, "
            "or of a rare kind",
            fix="replace it, or save it again as JPEG or PNG",
            kind=f"damaged {header.kind}",
        )
    decoded: NDArray[np.generic] = pixels
    return decoded


def _check_pixels(size: tuple[int, int], name: str) -> None:
    """Refuse an image of too many pixels; `size` is (width, height)."""
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{name}: {size[0]}x{size[1]} pixels is over the limit of {MAX_PIXELS:,}",
            fix="crop or reduce it first",
            kind="picture of too many pixels",
        )


def read_image(path: Path | str, reading: Reading = AS_IT_SAYS) -> Image:
    """Read an image file as `decode_image` does.

    Raises:
        ImageError: If the file is absent, unreadable, empty or not an image.
    """
    return decode_image(read_bytes(path), str(path), reading)


def read_bytes(path: Path | str) -> bytes:
    """Return an image file's bytes.

    Raises:
        ImageError: If the file is absent, unreadable or larger than any picture that is read.
    """
    try:
        with Path(path).open("rb") as stream:
            large = os.fstat(stream.fileno()).st_size > MAX_BYTES
            data = b"" if large else stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be read ({reason})", fix="check the path") from error
    if large or len(data) > MAX_BYTES:
        raise ImageError(
            f"{path}: more than {MAX_BYTES >> 20:,} MiB, which no picture of {MAX_PIXELS:,} pixels "
            "has",
            fix="give a picture",
            kind="file larger than a picture",
        )
    return data


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

"""The first bytes of a picture: its kind and size, before a decoder takes memory for it."""

from __future__ import annotations

import struct

from vision_edge.runtime.images.coding import is_jpeg, jpeg_size
from vision_edge.station.http.request_error import RequestError


def check_header(data: bytes, max_pixels: int, name: str) -> None:
    """Refuse what is no picture of a known kind, or too large a one.

    Raises:
        RequestError: With the reason.
    """
    size = picture_size(data)
    if size is None:
        raise RequestError(
            422, "bad_image", f"{name}: no JPEG, PNG, WebP or BMP picture ({len(data)} bytes)",
            "send a picture of one of these kinds",
        )  # fmt: skip
    width, height = size
    if width * height > max_pixels:
        raise RequestError(
            422, "too_many_pixels",
            f"{name}: {width}x{height} pixels is over the limit of {max_pixels:,}",
            "crop or reduce it first",
        )  # fmt: skip


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height as a picture's header says; None if it is of no known kind."""
    if is_jpeg(data):
        return jpeg_size(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:2] == b"BM" and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the size in a WebP's first chunk: lossy, lossless or extended."""
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None

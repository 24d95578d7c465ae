"""Pixels as GenICam cameras send them, made into BGR.

Source: GenICam Pixel Format Naming Convention 2.4 and its values (PFNC, EMVA); GigE Vision's older
packed forms of 10 and 12 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.sources.grabber import UnreadablePictureError

Values = NDArray[np.uint8] | NDArray[np.uint16]


def _plain8(data: NDArray[np.uint8]) -> Values:
    return data


def _plain16(data: NDArray[np.uint8]) -> Values:
    words: NDArray[np.uint16] = data.view("<u2")
    return words


def _packed12(data: NDArray[np.uint8]) -> Values:
    """GigE Vision: three bytes a pair, the low bits of both in the middle byte."""
    a, middle, b = (data[index::3].astype(np.uint16) for index in range(3))
    return _pairs(a << 4 | middle & 15, b << 4 | middle >> 4)


def _packed10(data: NDArray[np.uint8]) -> Values:
    """GigE Vision: three bytes a pair, two low bits of each in the middle byte."""
    a, middle, b = (data[index::3].astype(np.uint16) for index in range(3))
    return _pairs(a << 2 | middle & 3, b << 2 | middle >> 4 & 3)


def _p12(data: NDArray[np.uint8]) -> Values:
    """PFNC "p": bits in a row, the lowest first; three bytes a pair."""
    a, middle, b = (data[index::3].astype(np.uint16) for index in range(3))
    return _pairs(a | (middle & 15) << 8, middle >> 4 | b << 4)


def _p10(data: NDArray[np.uint8]) -> Values:
    """PFNC "p": bits in a row, the lowest first; five bytes a four."""
    a, b, c, d, e = (data[index::5].astype(np.uint16) for index in range(5))
    four = (a | (b & 3) << 8, b >> 2 | (c & 15) << 6, c >> 4 | (d & 63) << 4, d >> 6 | e << 2)
    return np.stack(four, axis=1).reshape(-1)


def _pairs(first: Any, second: Any) -> NDArray[np.uint16]:
    result = np.empty(2 * len(first), np.uint16)
    result[0::2], result[1::2] = first, second
    return result


@dataclass(frozen=True)
class _Form:
    """How a pixel format lies in memory.

    Attributes:
        name: In the naming convention.
        bits: In use in a value.
        per_pixel: Bits of memory a pixel.
        unpack: Makes values of bytes.
        colour: Name of OpenCV's conversion to BGR; None: grey. Empty: it is BGR.
        channels: Values a pixel.
    """

    name: str
    bits: int
    per_pixel: int
    unpack: Callable[[NDArray[np.uint8]], Values]
    colour: str | None = None
    channels: int = 1


# OpenCV names a Bayer pattern by its first row of four: RGGB is GenICam's RG
_BAYER = {
    "GR": "COLOR_BayerGRBG2BGR",
    "RG": "COLOR_BayerRGGB2BGR",
    "GB": "COLOR_BayerGBRG2BGR",
    "BG": "COLOR_BayerBGGR2BGR",
}


def _bayer(base: int, bits: int, per_pixel: int, suffix: str, unpack: Any) -> dict[int, _Form]:
    return {
        base + index: _Form(f"Bayer{order}{suffix}", bits, per_pixel, unpack, colour)
        for index, (order, colour) in enumerate(_BAYER.items())
    }


FORMS: dict[int, _Form] = {
    0x01080001: _Form("Mono8", 8, 8, _plain8),
    0x01100003: _Form("Mono10", 10, 16, _plain16),
    0x010C0004: _Form("Mono10Packed", 10, 12, _packed10),
    0x01100005: _Form("Mono12", 12, 16, _plain16),
    0x010C0006: _Form("Mono12Packed", 12, 12, _packed12),
    0x01100025: _Form("Mono14", 14, 16, _plain16),
    0x01100007: _Form("Mono16", 16, 16, _plain16),
    0x010A0046: _Form("Mono10p", 10, 10, _p10),
    0x010C0047: _Form("Mono12p", 12, 12, _p12),
    **_bayer(0x01080008, 8, 8, "8", _plain8),
    **_bayer(0x0110000C, 10, 16, "10", _plain16),
    **_bayer(0x01100010, 12, 16, "12", _plain16),
    **_bayer(0x010C002A, 12, 12, "12Packed", _packed12),
    **_bayer(0x0110002E, 16, 16, "16", _plain16),
    0x02180014: _Form("RGB8", 8, 24, _plain8, "COLOR_RGB2BGR", 3),
    0x02180015: _Form("BGR8", 8, 24, _plain8, "", 3),
    0x0210001F: _Form("YUV422_8_UYVY", 8, 16, _plain8, "COLOR_YUV2BGR_UYVY", 2),
    0x02100032: _Form("YUV422_8", 8, 16, _plain8, "COLOR_YUV2BGR_YUYV", 2),
}
"""By the convention's 32-bit value."""


def bgr_of(data: NDArray[np.uint8], width: int, height: int, pixel_format: int) -> Image:
    """Return a camera's buffer as uint8 (height, width, 3), BGR.

    Args:
        data: uint8 (n,), the buffer's image; copied.
        width: In pixels.
        height: In pixels.
        pixel_format: The naming convention's value. Of more than 8 bits the highest 8 are taken.

    Raises:
        UnreadablePictureError: If the format is none that is read, or the buffer is too short.
    """
    form = FORMS.get(pixel_format)
    if form is None:
        names = ", ".join(known.name for known in FORMS.values())
        raise UnreadablePictureError(
            f"the camera sends pixel format 0x{pixel_format:08X}, which is not read",
            fix=f"set pixel_format in the address to one of {names}",
        )
    pixels = width * height
    needed = (pixels * form.per_pixel + 7) // 8
    if len(data) < needed:
        raise UnreadablePictureError(
            f"the camera sent {len(data)} bytes; {width}x{height} in {form.name} are {needed}",
            fix="check the camera's region and pixel format; where the network cuts its packets, "
            "set packet_size=1400 in the address, or the MTU of every device between to more",
        )
    cv2 = require("cv2")
    values = form.unpack(data[: needed - needed % _unit(form)])
    image = values[: pixels * form.channels].reshape(height, width, form.channels)
    if image.dtype == np.uint16:
        image = (image >> (form.bits - 8)).astype(np.uint8)
    if form.colour == "":
        return np.ascontiguousarray(image)
    code = "COLOR_GRAY2BGR" if form.colour is None else form.colour
    result: Image = cv2.cvtColor(image, getattr(cv2, code))
    return result


def _unit(form: _Form) -> int:
    """Return how many bytes hold a whole number of pixels."""
    return {10: 5, 12: 3}.get(form.per_pixel, form.per_pixel // 8)

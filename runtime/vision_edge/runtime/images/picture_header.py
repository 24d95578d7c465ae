"""What a picture's header says: its size, depth and orientation, before a pixel is decoded.

A file of a megabyte may claim gigabytes of pixels. The formats are those that OpenCV decodes and
that say their size where it can be found without decoding; anything else is refused. Pillow is
the reference in the tests; here it would cost a device an import for some bytes at known places.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images.media_boxes import avif_properties, jp2_codestream
from vision_edge.runtime.images.picture_kinds import kind_of, readable
from vision_edge.runtime.images.picture_parts import (
    gif_pictures,
    jpeg_segments,
    png_chunks,
    riff_chunks,
)
from vision_edge.runtime.images.tiff_tags import directories, exif_orientation, orientation_in

_KINDS_READ = "JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, JPEG 2000, PNM and Sun raster are read"


@dataclass(frozen=True)
class Header:
    """What a picture's header says.

    Attributes:
        kind: What it is, such as `"PNG"`.
        width: Pixels across, as stored: before any turning.
        height: Pixels down, as stored.
        bits: Bits a channel of what is decoded: 1 to 16; 32 and more are refused.
        significant: Bits a channel that the file says are in use; None where it does not say.
            That all 16 are in use is what PNM, JPEG 2000 and TIFF say of any 16-bit picture.
        alpha: Whether it may have transparent pixels.
        orientation: How it is to be turned, as EXIF counts it: 1 (not at all) to 8.
        pictures: How many pictures it holds; 2 may stand for more.
        key: The one grey value that is transparent (PNG), as stored; None where there is none.
        premultiplied: Whether the decoder gives colours times alpha (libtiff does, of 8 bits).
        most: The value that stands for white, as decoded, where the file says another than that
            of all its bits (PNM); else None.
    """

    kind: str
    width: int
    height: int
    bits: int = 8
    significant: int | None = None
    alpha: bool = False
    orientation: int = 1
    pictures: int = 1
    key: int | None = None
    premultiplied: bool = False
    most: int | None = None


_STRETCHED = frozenset({b"P1", b"P2", b"P3", b"P4"})
"""Kinds of PNM whose 8-bit values OpenCV stretches to 255 by itself."""


class _NotReadError(Exception):
    """A picture is whole, and of a kind that is not read."""


def read_header(data: bytes, name: str) -> Header:
    """Read a picture's header.

    Args:
        data: The file's bytes, all of them.
        name: What to call it in an error.

    Raises:
        ImageError: If it is of no kind that is read, or its header is damaged.
    """
    kind = kind_of(data)
    if not readable(kind):
        held = "not an image that OpenCV can decode" if kind is None else f"{kind}, which is "
        held += "" if kind is None else "not read here"
        raise ImageError(
            f"{name}: {held} ({len(data)} bytes)",
            fix=f"convert, replace or remove it; {_KINDS_READ}",
            kind=kind or "no picture",
        )
    try:
        header = _READERS[str(kind)](data)
    except _NotReadError as error:
        raise ImageError(
            f"{name}: a {kind} of a kind that is not read: {error}",
            fix="save it with 8 or 16 bits a channel, as PNG or TIFF",
            kind=f"{kind} of a kind that is not read",
        ) from None
    except (ValueError, struct.error, KeyError, IndexError) as error:
        raise ImageError(
            f"{name}: a {kind} that cannot be decoded: it is cut short or damaged at its beginning "
            f"({error})",
            fix="copy or take it again",
            kind=f"damaged {kind}",
        ) from None
    if header.width < 1 or header.height < 1:
        raise ImageError(
            f"{name}: a {kind} without pixels; it cannot be decoded",
            fix="replace it",
            kind=f"damaged {kind}",
        )
    return header


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height as a JPEG's header says, or None if it is no well-formed JPEG."""
    try:
        header = _jpeg(data) if kind_of(data) == "JPEG" else None
    except (ValueError, struct.error, IndexError):
        return None
    return None if header is None else (header.width, header.height)


def _jpeg(data: bytes) -> Header:
    orientation, frame = 1, None
    for marker, start, end in jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            frame = struct.unpack_from(">BHH", data, start)
        elif marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            orientation = exif_orientation(data[start:end])
    if frame is None:
        raise ValueError("no size")
    return Header("JPEG", frame[2], frame[1], bits=frame[0], orientation=orientation)


def _png(data: bytes) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    found = png_chunks(data, whole=False)  # `check_whole` says what is missing
    chunks = {kind: data[start:end] for kind, start, end in found if kind != b"IDAT"}
    used = max(chunks.get(b"sBIT", b"")[: 1 if colour in (0, 4) else 3], default=None)
    transparent = chunks.get(b"tRNS")
    grey_key = transparent is not None and colour == 0 and len(transparent) >= 2
    pictures = int.from_bytes(chunks[b"acTL"][:4], "big") if b"acTL" in chunks else 1
    return Header(
        "PNG", width, height, 16 if bits == 16 else 8, used if bits == 16 else None,
        colour in (4, 6) or transparent is not None, exif_orientation(chunks.get(b"eXIf", b"")),
        pictures, _grey_key(transparent, bits) if grey_key and transparent else None,
    )  # fmt: skip


def _grey_key(transparent: bytes, bits: int) -> int:
    """Return the transparent grey as decoded: fewer than eight bits are stretched to eight."""
    value = int.from_bytes(transparent[:2], "big")
    return value if bits in (8, 16) else value * 255 // ((1 << bits) - 1)


def _bmp(data: bytes) -> Header:
    if int.from_bytes(data[14:18], "little") == 12:  # the header of OS/2
        width, height = struct.unpack_from("<HH", data, 18)
        return Header("BMP", width, height)
    width, height = struct.unpack_from("<ii", data, 18)
    depth, compression = struct.unpack_from("<HI", data, 28)
    mask = int.from_bytes(data[66:70], "little") if data[14] >= 56 and compression in (3, 6) else 0
    return Header("BMP", abs(width), abs(height), alpha=depth == 32 and mask != 0)


def _webp(data: bytes) -> Header:
    chunks = riff_chunks(data)
    parts = {kind: data[start:end] for kind, start, end in chunks[::-1]}
    pictures = sum(kind == b"ANMF" for kind, _, _ in chunks) or 1
    orientation = exif_orientation(parts.get(b"EXIF", b""))
    if b"VP8X" in parts:
        extended = parts[b"VP8X"]
        width, height = (int.from_bytes(extended[at : at + 3], "little") + 1 for at in (4, 7))
        alpha = bool(extended[0] & 0x10)
        return Header(
            "WebP", width, height, alpha=alpha, orientation=orientation, pictures=pictures
        )
    if b"VP8L" in parts:
        packed = int.from_bytes(parts[b"VP8L"][1:5], "little")
        alpha = bool(packed >> 28 & 1)
        return Header("WebP", (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, alpha=alpha)
    width, height = struct.unpack_from("<HH", parts[b"VP8 "], 6)
    return Header("WebP", width & 0x3FFF, height & 0x3FFF)


_TIFF_COLOURS = frozenset({0, 1, 2, 3, 5, 6})
"""PhotometricInterpretation that is read: greys, RGB, a palette, CMYK and YCbCr (TIFF 6.0)."""
_TIFF_OTHERS = {
    4: "a mask", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a camera's raw mosaic",
    34892: "a camera's linear raw",
}  # fmt: skip


def _tiff(data: bytes) -> Header:
    tags, *others = directories(data)
    if tags.get(254, (0,))[0] & 1:
        raise _NotReadError(
            "its first picture is a thumbnail of another, as in a camera's raw file"
        )
    bits = max(tags.get(258, (1,)))
    if bits > 16 or tags.get(339, (1,))[0] not in (1, 4):
        raise _NotReadError(f"its {bits}-bit pixels are no whole numbers of 16 bits or fewer")
    if bits > 8 and tags.get(262, (1,))[0] == 0:
        raise _NotReadError("its 16-bit greys are a negative, which OpenCV shows as it is")
    if (colours := tags.get(262, (1,))[0]) not in _TIFF_COLOURS:
        raise _NotReadError(
            f"its colours are {_TIFF_OTHERS.get(colours, f'of the kind {colours}')}, which OpenCV "
            "shows with a cast or not at all"
        )
    used = tags.get(281, (0,))[0]  # packed 10 to 14 bits OpenCV stretches to 16 by itself
    alpha = tags.get(338, (0,))[0]
    spare = tags.get(277, (1,))[0] - {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}.get(tags.get(262, (1,))[0], 9)
    return Header(
        "TIFF", tags[256][0], tags[257][0], 16 if bits > 8 else 8,
        16 if 8 < bits < 16 else _fewer(used.bit_length()) if bits > 8 and used else None,
        alpha in (1, 2) or spare > 0, orientation_in(tags),
        1 + sum(not other.get(254, (0,))[0] & 5 for other in others),
        premultiplied=alpha == 1 or (bits <= 8 and alpha == 2),
    )  # fmt: skip


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", width, height, alpha=True, pictures=gif_pictures(data))


def _avif(data: bytes) -> Header:
    said = avif_properties(data)
    depth = 16 if said.bits > 8 else 8
    return Header(
        "AVIF", *said.size, depth, said.bits if said.bits > 8 else None, said.alpha,
        said.orientation, 2 if data[8:12] == b"avis" else 1,
    )  # fmt: skip


def _jp2(data: bytes) -> Header:
    at = jp2_codestream(data)
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    channels, depth = struct.unpack_from(">HB", data, at + 40)
    bits = (depth & 0x7F) + 1
    if bits > 16:
        raise _NotReadError(f"its pixels have {bits} bits")
    alpha = channels in (2, 4)
    deep = bits > 8
    return Header(
        "JPEG 2000", right - left, bottom - top, 16 if deep else 8, _fewer(bits) if deep else None,
        alpha,
    )  # fmt: skip


def _fewer(bits: int) -> int | None:
    """Return how many bits are in use where a file says fewer than all; else nobody says."""
    return bits if bits < 16 else None


def _pnm(data: bytes) -> Header:
    if data[:2] == b"P7":
        said = {k: int(v) for k, v in re.findall(rb"\n(\w+)[ \t]+(\d+)", data[:1024])}
        numbers = [said[b"WIDTH"], said[b"HEIGHT"], said[b"MAXVAL"]]
        alpha = said[b"DEPTH"] in (2, 4)
    else:
        count = 2 if data[:2] in (b"P1", b"P4") else 3
        gap = rb"(?:\s|#[^\n]*\n)+"
        match = re.match(rb"P\d" + (gap + rb"(\d{1,9})") * count + rb"\s", data[:4096])
        if match is None:
            raise ValueError("no size")
        numbers, alpha = [*(int(group) for group in match.groups()), 1][:3], False
    width, height, most = numbers
    if not 0 < most < 1 << 16:
        raise ValueError(f"a largest value of {most}")
    if data[:2] == b"P7" and most == 1:
        raise _NotReadError("a PAM of 0 and 1, which OpenCV shows as black")
    deep = most > 255
    stretched = not deep and data[:2] in _STRETCHED
    return Header(
        "PNM", width, height, 16 if deep else 8, alpha=alpha,
        most=None if stretched or most in (255, 65535) else most,
    )  # fmt: skip


def _sun(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 4)
    return Header("Sun raster", width, height)


_READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": _jpeg, "PNG": _png, "WebP": _webp, "BMP": _bmp, "TIFF": _tiff, "GIF": _gif,
    "AVIF": _avif, "JPEG 2000": _jp2, "PNM": _pnm, "Sun raster": _sun,
}  # fmt: skip

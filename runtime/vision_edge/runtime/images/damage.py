"""Pictures that are damaged in the middle: decoders show what they have, and make up the rest.

A JPEG has no checksum, so it is decoded a second time, at an eighth of its size, by a decoder that
says what it had to repair (simplejpeg, over libjpeg-turbo; OpenCV's only prints it). A PNG has
checksums, and so has a TIFF's deflate. Of the others it is checked that all the bytes are there
that the file speaks of, and that what is compressed holds no blocks that were never written.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from vision_edge.runtime.errors import ImageError, require
from vision_edge.runtime.images.media_boxes import boxes, jp2_codestream
from vision_edge.runtime.images.picture_header import Header
from vision_edge.runtime.images.picture_parts import jpeg_segments, png_chunks, riff_chunks
from vision_edge.runtime.images.tiff_tags import JPEG_TABLES, Tags, directories

PADDING = 16
"""Bytes before a marker that a JPEG may have too many: encoders of cameras pad, by 1 to 15."""

_HARMLESS = re.compile(r"Warning: |Unsupported color conversion")
"""What is said of whole files: a revision of JFIF that is not known, CMYK that is no grey."""
_PLAIN = frozenset({0xC0, 0xC1, 0xC2})
"""Starts of frames, sequential and progressive, of which the second decoder knows all."""
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
UNWRITTEN = 256
"""Zeros or ones in a row, in bytes, that no encoder makes; a block of a disk has 512 and more.

Flat pictures of any size, of gradients and of stripes make up to 14 of them in WebP without loss,
in LZW and in JPEG 2000.
"""
_ZEROS_LOSSY, _LEAST_LOSSY = 0.75, 64
"""Zeros in a row in a lossy WebP are damage from so many bytes a macroblock (16x16 pixels) on.

Flat pictures of one colour, 64x64 to 3000x2500, qualities 10 to 100, all methods, make rows of up
to 0.717 bytes a macroblock (method 0, quality 100), and of 0.03 with the usual method.
"""
_GROUP_4 = 64
"""Zeros in a row, in bytes, that are no Group 4: its codes begin with seven zero bits at most."""
_CHUNK = 1 << 20


def check_whole(data: bytes, header: Header, name: str) -> None:
    """Refuse a picture that is cut short, or damaged in a way that shows without its pixels.

    Args:
        data: The file's bytes.
        header: What its header says.
        name: What to call it in an error.

    Raises:
        ImageError: With what is wrong.
    """
    check = _CHECKS.get(header.kind)
    try:
        wrong = check(data, header) if check else None
    except (ValueError, IndexError) as error:
        wrong = f"cut short ({error})"
    if wrong:
        raise ImageError(
            f"{name}: a {header.kind} that is {wrong}; it cannot be decoded as it was",
            fix="copy or take it again",
            kind=f"damaged {header.kind}",
        )


def _jpeg(data: bytes, header: Header) -> str | None:
    segments = jpeg_segments(data)
    pixels = segments[-1][2]
    if data.find(b"\xff\xd9", pixels) < 0:  # OpenCV 4 would show what its memory held
        return f"cut short ({len(data)} bytes)"
    if header.bits != 8 or not _PLAIN & {marker for marker, _, _ in segments}:
        return None
    said = _repairs(data)
    extraneous = _EXTRANEOUS.search(said)
    if extraneous and int(extraneous[1]) <= PADDING:
        return None
    return f"damaged inside ({said})" if said and not _HARMLESS.match(said) else None


def _repairs(data: bytes) -> str:
    """Return the first thing that libjpeg had to repair, in its words; "" if there is nothing."""
    try:
        require("simplejpeg").decode_jpeg(
            data, "GRAY", fastdct=True, fastupsample=True, min_height=1, min_width=1, min_factor=8
        )
    except ValueError as error:
        return str(error)
    return ""


def _png(data: bytes, header: Header) -> str | None:
    view = memoryview(data)
    for kind, start, end in png_chunks(data):
        if zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return f"damaged inside (the checksum of its part {kind.decode('latin-1')} is wrong)"
    return None


def _tiff(data: bytes, header: Header) -> str | None:
    tags = next(directories(data))
    for offsets, counts in ((273, 279), (324, 325)):
        ends = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        for offset, count in ends:
            if offset + count > len(data):
                return f"cut short ({len(data)} bytes)"
            if wrong := _strip(memoryview(data)[offset : offset + count], tags, header):
                return wrong
    return None


def _strip(strip: memoryview, tags: Tags, header: Header) -> str | None:
    """Return what is wrong with a strip or tile of a TIFF, as far as its compression tells."""
    compression = tags.get(259, (1,))[0]
    if compression == 5:  # LZW
        return _unwritten(bytes(strip))
    if compression == 7:  # JPEG; its tables may lie apart (TIFF Technical Note 2)
        tables = bytes(tags.get(JPEG_TABLES, ()))
        return _jpeg(tables[:-2] + bytes(strip[2:]) if tables else bytes(strip), header)
    if compression == 4 and bytes(_GROUP_4) in bytes(strip):
        return f"damaged inside ({_GROUP_4} bytes of zeros in a row in its compressed pixels)"
    if compression not in (8, 32946):  # deflate
        return None
    most = 8 * header.width * header.height * max(1, tags.get(277, (1,))[0])
    inflating, rest, size = zlib.decompressobj(), bytes(strip), 0
    try:
        while rest and not inflating.eof and size <= most:
            size += len(inflating.decompress(rest, _CHUNK))
            rest = inflating.unconsumed_tail
    except zlib.error as error:
        return f"damaged inside ({error})"
    return None if inflating.eof else "damaged inside (a strip does not end)"


def _unwritten(compressed: bytes, least: int = UNWRITTEN) -> str | None:
    """Return what is wrong with compressed bytes that hold a block which was never written."""
    for what, row, count in (("zeros", b"\0", least), ("ones", b"\xff", UNWRITTEN)):
        if row * count in compressed:
            return f"damaged inside ({count} bytes of {what} in a row in its compressed pixels)"
    return None


def _webp(data: bytes, header: Header) -> str | None:
    for kind, start, end in riff_chunks(data):
        if kind in (b"VP8L", b"VP8 "):
            least = _zeros_in_lossy(header) if kind == b"VP8 " else UNWRITTEN
            return _unwritten(data[start:end], least)
    return None


def _zeros_in_lossy(header: Header) -> int:
    macroblocks = -(-header.width // 16) * -(-header.height // 16)
    return max(_LEAST_LOSSY, int(_ZEROS_LOSSY * macroblocks))


def _avif(data: bytes, header: Header) -> str | None:
    sum(1 for _ in boxes(data))  # each must end within the file
    return None


def _jp2(data: bytes, header: Header) -> str | None:
    """The codestream goes from part to part of its tiles (ISO/IEC 15444-1, A.4.2) to its end."""
    at = jp2_codestream(data) + 2
    while data[at : at + 2] != b"\xff\x90":  # up to the first part of a tile
        if at + 4 > len(data):
            return "cut short"
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if wrong := _unwritten(data[at:]):
        return wrong
    while data[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length == 0:  # to the end
            return None if data.rstrip(b"\0")[-2:] == b"\xff\xd9" else "cut short"
        at += length
    return None if data[at : at + 2] == b"\xff\xd9" else "cut short, or damaged inside"


def _pnm(data: bytes, header: Header) -> str | None:
    if data[:2] not in (b"P5", b"P6"):
        return None  # OpenCV finds a text that is too short
    samples = header.width * header.height * (3 if data[1:2] == b"6" else 1)
    missing = samples * (2 if header.bits == 16 else 1) - len(data)
    return f"cut short ({missing} bytes or more are missing)" if missing > 0 else None


_CHECKS: dict[str, Callable[[bytes, Header], str | None]] = {
    "JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "AVIF": _avif, "JPEG 2000": _jp2, "PNM": _pnm,
    "WebP": _webp,
}  # fmt: skip
"""WebP and GIF are walked to their ends for the header; BMP and Sun raster OpenCV finds short."""

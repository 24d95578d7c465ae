"""The tags of a TIFF's first picture; EXIF data, in whatever file they are, are laid out alike.

TIFF 6.0 (Adobe, 1992), section 2; BigTIFF; Exif 2.3, section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SIZES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
"""Types of whole numbers: byte, short, long, IFD, long8."""
_MOST, _MOST_PICTURES = 1_000_000, 64
ORIENTATION = 274
JPEG_TABLES = 347
"""Bytes of no type: of those that have none the only tag that is read."""

Tags = dict[int, tuple[int, ...]]


def directories(data: bytes) -> Iterator[Tags]:
    """Yield the whole-number tags of each directory, one a picture, in order.

    Args:
        data: A TIFF's bytes, or an EXIF block from its byte order on.

    Raises:
        ValueError: If the bytes are no TIFF, or end before a directory does.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("no byte order")
    seen = {0}
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        while start not in seen and len(seen) < _MOST_PICTURES:
            seen.add(start)
            tags, start = _directory(data, order, big, start)
            yield tags
    except struct.error as error:
        raise ValueError(f"a directory is cut short ({error})") from None


def _directory(data: bytes, order: str, big: bool, start: int) -> tuple[Tags, int]:
    """Return the tags of the directory at `start`, and where the next directory is; 0 for none."""
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    at, width = start + (8 if big else 2), 20 if big else 12
    tags: Tags = {}
    for _ in range(min(count, 4096)):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag == JPEG_TABLES and kind == 7:
            kind = 1
        if kind in _SIZES:
            tags[tag] = _values(data, order, big, at + 4, _SIZES[kind])
        at += width
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
    return tags, following


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, in an EXIF block; 1 where it says nothing that is valid."""
    try:
        tags = next(directories(exif.removeprefix(b"Exif\0\0")), {})
    except ValueError:
        return 1
    return orientation_in(tags)


def orientation_in(tags: Tags) -> int:
    """Return the orientation, 1 to 8, among tags; 1 where there is none that is valid."""
    value = tags.get(ORIENTATION, (1,))[:1]
    return value[0] if value and 1 <= value[0] <= 8 else 1


def _values(data: bytes, order: str, big: bool, at: int, code: str) -> tuple[int, ...]:
    (count,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
    room, at = (8, at + 8) if big else (4, at + 4)
    if count > _MOST:
        raise ValueError(f"a tag of {count} values")
    if count * struct.calcsize(order + code) > room:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
    return struct.unpack_from(f"{order}{count}{code}", data, at)

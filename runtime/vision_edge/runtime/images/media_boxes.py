"""The boxes of an ISO base media file: what AVIF and JPEG 2000 say of their picture.

ISO/IEC 14496-12 (boxes), 23008-12 (items and their properties), 15444-1 annex I (JP2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_EXIF_OF = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip
"""EXIF's orientation of a turn by quarters, anticlockwise, and then a mirroring: 0 swaps top and
bottom, 1 left and right."""


@dataclass(frozen=True)
class Box:
    """One box: its type, and where its contents begin and end."""

    kind: bytes
    start: int
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes between two places.

    Raises:
        ValueError: If one does not end where it should: the file is cut short, or damaged.
    """
    end = len(data) if end is None else end
    while start < end:
        if end - start < 8:
            raise ValueError("it ends within a box's header")
        size, kind, head = (
            int.from_bytes(data[start : start + 4], "big"),
            data[start + 4 : start + 8],
            8,
        )
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        size = size or end - start
        if size < head or start + size > end:
            raise ValueError(f"its box {kind!r} of {size} bytes does not fit into it")
        yield Box(kind, start + head, start + size)
        start += size


@dataclass(frozen=True)
class Properties:
    """What an AVIF says of its picture.

    Attributes:
        size: Width and height as stored.
        bits: Bits a channel: 8, 10 or 12.
        orientation: As EXIF counts it, from the turn and the mirroring.
        alpha: Whether there is an alpha plane.
    """

    size: tuple[int, int]
    bits: int
    orientation: int
    alpha: bool


def avif_properties(data: bytes) -> Properties:
    """Return what an AVIF says of its picture.

    Raises:
        ValueError: If it says nothing, or is cut short.
    """
    top = {box.kind: box for box in boxes(data)}
    if b"meta" not in top:
        raise ValueError("it has no description of a picture")
    meta = {box.kind: box for box in boxes(data, top[b"meta"].start + 4, top[b"meta"].end)}
    primary = _primary(data, meta[b"pitm"]) if b"pitm" in meta else 1
    inner = {box.kind: box for box in boxes(data, meta[b"iprp"].start, meta[b"iprp"].end)}
    listed = list(boxes(data, inner[b"ipco"].start, inner[b"ipco"].end))
    own = [listed[i - 1] for i in _associated(data, inner[b"ipma"], primary) if i <= len(listed)]
    return _properties(data, listed, own)


def _properties(data: bytes, listed: list[Box], own: list[Box]) -> Properties:
    sizes = [_size(data, box) for box in own if box.kind == b"ispe"]
    if not sizes:
        raise ValueError("its picture has no size")
    angles = [data[box.start] & 3 for box in own if box.kind == b"irot"]
    mirrors = [data[box.start] & 1 for box in own if box.kind == b"imir"]
    depth = [data[box.start + 2] for box in listed if box.kind == b"av1C"]
    bits = max((8 if not d & 0x40 else 12 if d & 0x20 else 10 for d in depth), default=8)
    alpha = any(b"alpha" in data[b.start : b.end] for b in listed if b.kind == b"auxC")
    turn = (angles[0] if angles else 0, mirrors[0] if mirrors else None)
    return Properties(sizes[0], bits, _EXIF_OF[turn], alpha)


def jp2_codestream(data: bytes) -> int:
    """Return where a JPEG 2000 file's codestream begins.

    Raises:
        ValueError: If it has none, or is cut short before it.
    """
    if data[:4] == b"\xff\x4f\xff\x51":
        return 0
    start = next((box.start for box in boxes(data) if box.kind == b"jp2c"), None)
    if start is None:
        raise ValueError("it has no codestream")
    return start


def _primary(data: bytes, box: Box) -> int:
    length = 2 if data[box.start] == 0 else 4
    return int.from_bytes(data[box.start + 4 : box.start + 4 + length], "big")


def _size(data: bytes, box: Box) -> tuple[int, int]:
    width, height = (data[box.start + at : box.start + at + 4] for at in (4, 8))
    return int.from_bytes(width, "big"), int.from_bytes(height, "big")


def _associated(data: bytes, box: Box, item: int) -> list[int]:
    """Return the numbers, from 1, of an item's properties."""
    version, wide = data[box.start], data[box.start + 3] & 1
    width, step = (2 if version == 0 else 4), (2 if wide else 1)
    at = box.start + 8
    for _ in range(int.from_bytes(data[box.start + 4 : at], "big")):
        number = int.from_bytes(data[at : at + width], "big")
        count = data[at + width]
        at += width + 1
        if number == item:
            numbers = (data[at + k * step : at + (k + 1) * step] for k in range(count))
            return [int.from_bytes(n, "big") & (0x7FFF if wide else 0x7F) for n in numbers]
        at += count * step
    return []

"""The parts that a JPEG, PNG, WebP or GIF is made of, walked from its beginning to its end."""

from __future__ import annotations


def jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return a JPEG's markers before its pixels: (marker, start, end) of each one's contents.

    Raises:
        ValueError: If they do not lead to a start of scan.
    """
    found: list[tuple[int, int, int]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD7:  # fill, or without contents
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((marker, at + 4, end))
        if marker in (0xDA, 0xD9):
            break
        at = end
    if not found or found[-1][0] != 0xDA:
        raise ValueError("no pixels follow its header")
    return found


def png_chunks(data: bytes, *, whole: bool = True) -> list[tuple[bytes, int, int]]:
    """Return a PNG's chunks up to its end: (kind, start, end) of each one's contents.

    Raises:
        ValueError: If they are to be `whole` and do not lead to an end.
    """
    found: list[tuple[bytes, int, int]] = []
    at = 8
    while at + 12 <= len(data):
        start, end = at + 8, at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        found.append((data[at + 4 : at + 8], start, end))
        if found[-1][0] == b"IEND":
            return found
        at = end + 4
    if whole:
        raise ValueError("its end is missing")
    return found


def riff_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Return a WebP's chunks: (kind, start, end) of each one's contents.

    Raises:
        ValueError: If the file ends before they do.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ValueError(f"{end - len(data)} bytes are missing")
    found: list[tuple[bytes, int, int]] = []
    at = 12
    while at + 8 <= end:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            raise ValueError("its last part is cut short")
        found.append((data[at : at + 4], at + 8, at + 8 + length))
        at += 8 + length + length % 2
    return found


def gif_pictures(data: bytes) -> int:
    """Return how many pictures a GIF holds, by walking its blocks to the end.

    Raises:
        ValueError: If the file ends before they do.
    """
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    pictures = 0
    while data[at : at + 1] != b";":
        if data[at : at + 1] == b"!":
            at += 2
        elif data[at : at + 1] == b",":
            pictures += 1
            packed = data[at + 9]
            at += 11 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
        else:
            raise ValueError("its end is missing")
        while data[at]:
            at += 1 + data[at]
        at += 1
    return pictures

"""Pictures on the broker: each in pieces of one size, under its hash, so that anyone can check."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from vision_edge.station.fleet.shared_gallery.entries import Picture

PIECE = 96 << 10
"""Bytes of a piece: brokers that limit messages most allow 128 KiB."""


def piece_count(size: int) -> int:
    """Return how many pieces a picture of so many bytes has."""
    return -(-size // PIECE)


def pieces_of(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield a picture's pieces with their numbers, from 0."""
    for number in range(piece_count(len(jpeg))):
        yield number, jpeg[number * PIECE : (number + 1) * PIECE]


class Assembly:
    """Puts one picture together; holds no more than the picture's own bytes.

    Args:
        picture: What is awaited.
    """

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._pieces: dict[int, bytes] = {}

    def take(self, number: int, piece: bytes) -> bool:
        """Take a piece; return False for one that cannot be of this picture."""
        count = piece_count(self.picture.bytes)
        if not 0 <= number < count:
            return False
        last = self.picture.bytes - (count - 1) * PIECE
        if len(piece) != (PIECE if number < count - 1 else last):
            return False
        self._pieces[number] = piece
        return True

    def jpeg(self) -> bytes | None:
        """Return the picture if all of it is there; pieces that do not make it are forgotten."""
        if len(self._pieces) < piece_count(self.picture.bytes):
            return None
        jpeg = b"".join(self._pieces[number] for number in sorted(self._pieces))
        if hashlib.sha256(jpeg).hexdigest() == self.picture.sha256:
            return jpeg
        self._pieces.clear()
        return None

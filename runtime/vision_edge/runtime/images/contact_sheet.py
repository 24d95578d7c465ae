"""Contact sheets: small pictures in rows, each with a caption, under headings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vision_edge.runtime.arrays import Image

GREEN, AMBER, RED, WHITE, GREY = (
    (96, 200, 80),
    (40, 170, 250),
    (70, 70, 235),
    (245, 245, 245),
    (150, 150, 150),
)
"""BGR."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
_TILE = 150
_CAPTION = 44
COLUMNS = 8
"""Pictures a row."""
_BACKGROUND = (30, 28, 26)


@dataclass(frozen=True)
class Tile:
    """One picture of the contact sheet.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        lines: Caption, at most two lines.
        colour: Of the frame and the first line, BGR.
    """

    image: Image
    lines: tuple[str, ...]
    colour: tuple[int, int, int]


def text(
    image: Image, line: str, origin: tuple[int, int], height: int, colour: Sequence[int]
) -> None:
    """Write a line into an image, its baseline's left end at `origin`, `height` pixels high."""
    scale = height / 22
    weight = max(1, round(scale * 2))
    cv2.putText(image, line, origin, FONT, scale, tuple(colour), weight, cv2.LINE_AA)


def contact_sheet(title: str, sections: Sequence[tuple[str, Sequence[Tile]]]) -> Image:
    """Lay out tiles under headings.

    Args:
        title: Over all.
        sections: Headings, each with its tiles.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    width = COLUMNS * (_TILE + 12) + 12
    rows = [_strip(title, width, 20, WHITE)]
    for heading, tiles in sections:
        rows.append(_strip(heading, width, 14, GREY))
        starts = range(0, len(tiles), COLUMNS)
        rows.extend(_row(tiles[start : start + COLUMNS], width) for start in starts)
    return np.concatenate(rows)


def _strip(line: str, width: int, height: int, colour: Sequence[int]) -> Image:
    strip = np.full((height * 2 + 8, width, 3), _BACKGROUND, np.uint8)
    text(strip, line, (12, height + 12), height, colour)
    return strip


def _row(tiles: Sequence[Tile], width: int) -> Image:
    row = np.full((_TILE + _CAPTION + 10, width, 3), _BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        x = 12 + index * (_TILE + 12)
        _paste(row[4 : 4 + _TILE, x : x + _TILE], tile.image)
        cv2.rectangle(row, (x, 4), (x + _TILE - 1, 3 + _TILE), tile.colour, 3)
        for number, line in enumerate(tile.lines):
            colour = tile.colour if number == 0 else GREY
            text(row, line, (x + 1, _TILE + 20 + 16 * number), 9, colour)
    return row


def fitted(image: Image) -> Image:
    """Return an image, uint8 (H, W, 3) BGR, as large as a tile holds it."""
    scale = _TILE / max(image.shape[:2])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _paste(place: Image, image: Image) -> None:
    """Put an image into the middle of a square."""
    small = fitted(image)
    height, width = small.shape[:2]
    top, left = (_TILE - height) // 2, (_TILE - width) // 2
    place[top : top + height, left : left + width] = small

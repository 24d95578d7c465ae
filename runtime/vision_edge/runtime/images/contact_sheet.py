"""Contact sheets: small pictures in rows, each with a caption, under headings."""

from __future__ import annotations

import unicodedata
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
SIDE = 150
"""Pixels of a picture's side, by default."""
COLUMNS = 8
"""Pictures a row, by default."""
_GAP, _CAPTION = 12, 44
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


def plain_letters(line: str) -> str:
    """Return a text in the letters that a sheet has; others become question marks."""
    letters = (c for c in unicodedata.normalize("NFKD", line) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in letters)


def contact_sheet(
    title: str,
    sections: Sequence[tuple[str, Sequence[Tile]]],
    *,
    columns: int = COLUMNS,
    side: int = SIDE,
) -> Image:
    """Lay out tiles under headings; what is written is cut where it does not fit.

    Args:
        title: Over all; empty for none.
        sections: Headings, each with its tiles.
        columns: Tiles a row, at least 1.
        side: Side of a picture in pixels, at least 16.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    width = columns * (side + _GAP) + _GAP
    rows = [_strip(title, width, 20, WHITE)] if title or not sections else []
    for heading, tiles in sections:
        rows.append(_strip(heading, width, 14, GREY))
        starts = range(0, len(tiles), columns)
        rows.extend(_row(tiles[start : start + columns], width, side) for start in starts)
    return np.concatenate(rows)


def _strip(line: str, width: int, height: int, colour: Sequence[int]) -> Image:
    strip = np.full((height * 2 + 8, width, 3), _BACKGROUND, np.uint8)
    text(strip, _cut(line, height, width - 2 * _GAP), (_GAP, height + 12), height, colour)
    return strip


def _cut(line: str, height: int, width: int) -> str:
    """Return as much of a text as is no wider than `width` pixels."""
    plain = plain_letters(line)
    while plain and _width(plain, height) > width:
        plain = plain.rstrip(".")[:-1] + ".." if len(plain.rstrip(".")) > 1 else ""
    return plain


def _width(line: str, height: int) -> int:
    scale = height / 22
    return cv2.getTextSize(line, FONT, scale, max(1, round(scale * 2)))[0][0]


def _row(tiles: Sequence[Tile], width: int, side: int) -> Image:
    row = np.full((side + _CAPTION + 10, width, 3), _BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        x = _GAP + index * (side + _GAP)
        _paste(row[4 : 4 + side, x : x + side], tile.image)
        cv2.rectangle(row, (x, 4), (x + side - 1, 3 + side), tile.colour, 3)
        for number, line in enumerate(tile.lines):
            colour = tile.colour if number == 0 else GREY
            text(row, _cut(line, 9, side), (x + 1, side + 20 + 16 * number), 9, colour)
    return row


def fitted(image: Image, side: int = SIDE) -> Image:
    """Return an image, uint8 (H, W, 3) BGR, as large as a square of `side` pixels holds it."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(scale * edge)) for edge in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _paste(place: Image, image: Image) -> None:
    """Put an image into the middle of a square."""
    side = place.shape[0]
    small = fitted(image, side)
    height, width = small.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    place[top : top + height, left : left + width] = small

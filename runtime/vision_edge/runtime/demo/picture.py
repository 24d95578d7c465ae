"""What the demonstration shows: annotated frames, and a contact sheet of every verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vision_edge.runtime.preprocess import Image
from vision_edge.runtime.presence import Box

GREEN, AMBER, RED, WHITE, GREY = (
    (96, 200, 80),
    (40, 170, 250),
    (70, 70, 235),
    (245, 245, 245),
    (150, 150, 150),
)
"""BGR."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TILE = 150
_CAPTION = 44
_COLUMNS = 8
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
    cv2.putText(image, line, origin, _FONT, scale, tuple(colour), weight, cv2.LINE_AA)


def annotate_frame(
    image: Image, window: Box, found: Box | None, headline: str, colour: Sequence[int], footer: str
) -> Image:
    """Draw the inspection window, the part and the current verdict on a copy of a frame.

    Args:
        image: uint8 (H, W, 3), BGR.
        window: The inspection window.
        found: The part, in pixels of the frame, or None.
        headline: The verdict, drawn large.
        colour: Of headline and part, BGR.
        footer: A small line below.
    """
    picture: Image = image.copy()
    height, width = picture.shape[:2]
    cv2.rectangle(picture, window[:2], window[2:], GREY, 1, cv2.LINE_AA)
    if found is not None:
        cv2.rectangle(picture, found[:2], found[2:], tuple(colour), 2, cv2.LINE_AA)
    band = max(40, height // 9)
    picture[:band] = picture[:band] // 5
    text(picture, headline, (12, round(band * 0.68)), round(band * 0.42), colour)
    (length, _), _ = cv2.getTextSize(footer, _FONT, 0.45, 1)
    text(picture, footer, (width - length - 12, round(band * 0.62)), 10, WHITE)
    return picture


def contact_sheet(title: str, sections: Sequence[tuple[str, Sequence[Tile]]]) -> Image:
    """Lay out tiles under headings.

    Args:
        title: Over all.
        sections: Headings, each with its tiles.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    width = _COLUMNS * (_TILE + 12) + 12
    rows = [_strip(title, width, 20, WHITE)]
    for heading, tiles in sections:
        rows.append(_strip(heading, width, 14, GREY))
        starts = range(0, len(tiles), _COLUMNS)
        rows.extend(_row(tiles[start : start + _COLUMNS], width) for start in starts)
    return np.concatenate(rows)


def _strip(line: str, width: int, height: int, colour: Sequence[int]) -> Image:
    strip = np.full((height * 2 + 8, width, 3), _BACKGROUND, np.uint8)
    text(strip, line, (12, height + 12), height, colour)
    return strip


def _row(tiles: Sequence[Tile], width: int) -> Image:
    row = np.full((_TILE + _CAPTION + 10, width, 3), _BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        x = 12 + index * (_TILE + 12)
        row[4 : 4 + _TILE, x : x + _TILE] = cv2.resize(
            tile.image, (_TILE, _TILE), interpolation=cv2.INTER_AREA
        )
        cv2.rectangle(row, (x, 4), (x + _TILE - 1, 3 + _TILE), tile.colour, 3)
        for number, line in enumerate(tile.lines):
            colour = tile.colour if number == 0 else GREY
            text(row, line, (x + 1, _TILE + 20 + 16 * number), 9, colour)
    return row

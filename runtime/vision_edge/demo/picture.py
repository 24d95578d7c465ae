"""What the demonstration shows: annotated frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.contact_sheet import FONT, GREY, WHITE, text
from vision_edge.runtime.images.part_outlines import Box


@dataclass(frozen=True)
class Mark:
    """What is drawn of one part.

    Attributes:
        box: Where, in pixels of the frame.
        words: Written above it.
        colour: BGR.
    """

    box: Box
    words: str
    colour: tuple[int, int, int]


def annotate_frame(
    image: Image, window: Box, marks: Sequence[Mark], headline: str, footer: str
) -> Image:
    """Draw the inspection window, each part with its verdict, and a headline on a copy of a frame.

    Args:
        image: uint8 (H, W, 3), BGR.
        window: The inspection window.
        marks: The parts in view.
        headline: Drawn large: the latest part that was reported.
        footer: A small line beside it.
    """
    picture: Image = image.copy()
    height, width = picture.shape[:2]
    cv2.rectangle(picture, window[:2], window[2:], GREY, 1, cv2.LINE_AA)
    for mark in marks:
        x, y = mark.box[:2]
        cv2.rectangle(picture, (x, y), mark.box[2:], mark.colour, 2, cv2.LINE_AA)
        text(picture, mark.words, (x, max(12, y - 6)), 12, mark.colour)
    band = max(40, height // 9)
    picture[:band] = picture[:band] // 5
    text(picture, headline, (12, round(band * 0.68)), round(band * 0.42), WHITE)
    (length, _), _ = cv2.getTextSize(footer, FONT, 0.45, 1)
    text(picture, footer, (width - length - 12, round(band * 0.62)), 10, WHITE)
    return picture

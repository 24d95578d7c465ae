"""What the demonstration shows: annotated frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.contact_sheet import FONT, GREY, WHITE, text
from vision_edge.runtime.images.presence import Box


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
    (length, _), _ = cv2.getTextSize(footer, FONT, 0.45, 1)
    text(picture, footer, (width - length - 12, round(band * 0.62)), 10, WHITE)
    return picture

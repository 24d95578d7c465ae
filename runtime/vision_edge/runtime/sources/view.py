"""How a source's picture is turned, mirrored and cut before anything else sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import SourceError, require
from vision_edge.runtime.sources.frame import Frame, Source

Flip = Literal["none", "horizontal", "vertical"]
ROTATIONS = (0, 90, 180, 270)
FLIPS: tuple[Flip, ...] = ("none", "horizontal", "vertical")


@dataclass(frozen=True)
class View:
    """Rotation first, then mirroring, then the region of interest of the upright picture.

    Attributes:
        rotate: Degrees clockwise: 0, 90, 180 or 270.
        flip: `"horizontal"` swaps left and right, `"vertical"` top and bottom.
        roi: Region of interest as (x, y, width, height) in pixels, or None for all of it.
    """

    rotate: int = 0
    flip: Flip = "none"
    roi: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SourceError: If one of them is none that is understood.
        """
        if self.rotate not in ROTATIONS:
            raise SourceError(
                f"a picture cannot be turned by {self.rotate} degrees",
                fix="use 0, 90, 180 or 270, clockwise",
            )
        if self.flip not in FLIPS:
            raise SourceError(f"unknown flip {self.flip!r}", fix=f"use one of {', '.join(FLIPS)}")
        if self.roi is not None and (min(self.roi[:2]) < 0 or min(self.roi[2:]) < 1):
            raise SourceError(
                f"a region of interest {self.roi} is empty or outside the picture",
                fix="give x,y,width,height in pixels",
            )

    @property
    def changes_nothing(self) -> bool:
        """Whether the picture stays as it is."""
        return self == View()

    def apply(self, image: Image) -> Image:
        """Return the picture as seen: uint8 (H, W, 3), BGR, contiguous.

        Raises:
            SourceError: If the region of interest is not inside the picture.
        """
        cv2 = require("cv2")
        turned = np.rot90(image, -self.rotate // 90)
        if self.flip != "none":
            turned = cv2.flip(np.ascontiguousarray(turned), 1 if self.flip == "horizontal" else 0)
        return np.ascontiguousarray(self._cut(turned))

    def _cut(self, image: Image) -> Image:
        if self.roi is None:
            return image
        x, y, width, height = self.roi
        if x + width > image.shape[1] or y + height > image.shape[0]:
            raise SourceError(
                f"the region of interest {self.roi} is not inside a picture of "
                f"{image.shape[1]}x{image.shape[0]} pixels",
                fix="give x,y,width,height in pixels of the upright picture",
            )
        return image[y : y + height, x : x + width]


def parse_roi(text: str) -> tuple[int, int, int, int]:
    """Return a region of interest from `x,y,width,height`.

    Raises:
        SourceError: If it is not four whole numbers.
    """
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise SourceError(
            f"{text!r} is no region of interest", fix="give x,y,width,height, such as 100,0,640,480"
        )
    x, y, width, height = (int(part) for part in parts)
    return x, y, width, height


class ViewedSource:
    """A source whose frames are turned, mirrored and cut.

    Args:
        source: Where the frames come from.
        view: What is done to each.
    """

    def __init__(self, source: Source, view: View) -> None:
        self.source = source
        self.name = source.name
        self.live = source.live
        self.fps = source.fps
        self.endless = bool(getattr(source, "endless", False))
        self._view = view

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the source's frames, changed."""
        for frame in self.source:
            yield replace(frame, image=self._view.apply(frame.image))

    def close(self) -> None:
        """Close the source."""
        self.source.close()

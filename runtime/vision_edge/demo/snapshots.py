"""What an operator would photograph before the line starts."""

from __future__ import annotations

from vision_edge.demo.conveyor import render_snapshot
from vision_edge.demo.rendered_line import Conveyor
from vision_edge.demo.script import Cast
from vision_edge.demo.settings import Box, inspection_window, line_view
from vision_edge.runtime.arrays import Image


def snapshot(cast: Cast, label: str) -> Image:
    """Return the inspection window with one part in it: uint8 (S, S, 3), BGR."""
    image, _ = render_snapshot(label, cast.seed, cast.config)
    return image


def empty_window(cast: Cast) -> Image:
    """Return the inspection window of the empty belt: uint8 (S, S, 3), BGR."""
    return _empty(cast, inspection_window(cast.config))


def empty_view(cast: Cast) -> Image:
    """Return all of the empty belt: uint8 (H, W, 3), BGR."""
    return _empty(cast, line_view(cast.config))


def _empty(cast: Cast, view: Box) -> Image:
    """Return a part of the first frame, which shows the belt before the first part reaches it."""
    image, _ = Conveyor(cast.config, cast.registered, length=1)[0]
    x0, y0, x1, y1 = view
    return image[y0:y1, x0:x1].copy()

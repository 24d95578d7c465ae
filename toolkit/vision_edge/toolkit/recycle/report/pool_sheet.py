"""A contact sheet of a pool: what each adapter takes for its classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.contact_sheet import GREY, Tile, contact_sheet
from vision_edge.toolkit.pool.pool import PoolPart


def pool_sheet(
    parts: Sequence[PoolPart], columns: int = 5, rows: int = 12, side: int = 112
) -> Image:
    """Show a pool's synthetic images: one row an adapter, the first image of each class.

    Args:
        parts: The pool.
        columns: Classes of an adapter at most; of more, some spread over all of them.
        rows: Adapters at most, likewise.
        side: Side of an image in pixels.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    chosen = [parts[index] for index in _spread(len(parts), rows)]
    sections = [(part.name, _tiles(part, columns)) for part in chosen]
    return contact_sheet("", sections, columns=columns, side=side)


def _tiles(part: PoolPart, columns: int) -> list[Tile]:
    """Return the first image of each class that has one, with the class's name."""
    firsts = ((label, np.flatnonzero(part.labels == label)[:1]) for label in range(part.way))
    known = [(label, rows) for label, rows in firsts if len(rows)]
    return [
        Tile(part.images(rows)[0], (_name(part, label),), GREY)
        for label, rows in (known[index] for index in _spread(len(known), columns))
    ]


def _name(part: PoolPart, label: int) -> str:
    return part.classes[label] if label < len(part.classes) else ""


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` indices, evenly spread."""
    return [round(float(index)) for index in np.linspace(0, count - 1, min(count, most))]

"""Reduction by averaging areas, of a part of the result alone: what OpenCV's `INTER_AREA` gives.

OpenCV reduces the whole picture before the middle of it is cut out, sample by sample. Here the rows
and columns that are not wanted are left alone, and the rest is two products with narrow matrices:
each target pixel is a weighted mean of the few source pixels that it covers. Exact up to rounding:
within one grey level of OpenCV, at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image

_COVERED = 16
"""Source pixels a product, about: more multiply more zeros, fewer cost more calls."""
_SMALL = 65_536 * 4
"""Multiplications up to which OpenBLAS uses one thread: threads cost more than they bring here."""
_KEPT = 64
"""Geometries whose weights are kept; one of 4K takes about half a megabyte."""


@dataclass(frozen=True)
class Span:
    """A part of an axis after reduction.

    Attributes:
        source: Pixels of the whole axis before.
        target: Pixels of the whole axis after; at most `source`.
        first: First pixel wanted of the target.
        count: How many are wanted.
    """

    source: int
    target: int
    first: int
    count: int


@dataclass(frozen=True)
class _Block:
    """Some target pixels: where they are, the source pixels they cover, and the weights.

    Attributes:
        target: First of them, counted from the span's first.
        start: First source pixel.
        stop: Last source pixel and one.
        weights: float32 (target pixels, source pixels).
    """

    target: int
    start: int
    stop: int
    weights: NDArray[np.float32]


def area_reduced(image: Image, rows: Span, columns: Span) -> Image:
    """Return a part of a picture that is reduced by averaging areas.

    Args:
        image: uint8 (H, W, 3); H and W are the spans' `source`.
        rows: What of the height.
        columns: What of the width.

    Returns:
        uint8 (rows.count, columns.count, 3).
    """
    across = _blocks(columns, 3)
    left, right = across[0].start, across[-1].stop
    flat = image.reshape(len(image), -1) if image.flags.c_contiguous else None
    lines = image[:, left // 3 : right // 3] if flat is None else flat[:, left:right]
    low = np.empty((rows.count, right - left), np.float32)
    for block in _blocks(rows, 1):
        part = lines[block.start : block.stop].astype(np.float32)
        part = part.reshape(len(part), -1)
        _product(block.weights, part, low[block.target : block.target + len(block.weights)])
    reduced = np.empty((rows.count, columns.count * 3), np.float32)
    for block in across:
        inside = low[:, block.start - left : block.stop - left]
        width = block.weights.shape[1]
        np.matmul(inside, block.weights, out=reduced[:, block.target : block.target + width])
    reduced += 0.5
    return reduced.astype(np.uint8).reshape(rows.count, columns.count, 3)


def _product(
    weights: NDArray[np.float32], part: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Multiply, in pieces that are too small for threads."""
    step = max(16, _SMALL // weights.size)
    for start in range(0, part.shape[1], step):
        piece = np.s_[:, start : start + step]
        np.matmul(weights, part[piece], out=out[piece])


@lru_cache(maxsize=_KEPT)
def _blocks(span: Span, channels: int) -> tuple[_Block, ...]:
    """Return a span's blocks; for several channels, as a row of interleaved values has them.

    Then the weights are transposed, (source values, target values), and all is counted in values.
    """
    blocks = []
    scale = span.source / span.target
    size = max(2, min(8, round(_COVERED / scale)))
    for begin in range(0, span.count, size):
        wanted = np.arange(begin, min(begin + size, span.count)) + span.first
        start = int(wanted[0] * scale)
        stop = min(span.source, math.ceil((wanted[-1] + 1) * scale - 1e-6))
        pixels = np.arange(start, stop)
        upper = np.minimum((wanted[:, None] + 1) * scale, pixels + 1)
        covered = (upper - np.maximum(wanted[:, None] * scale, pixels)).clip(0)
        weights = (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
        if channels > 1:
            weights = np.kron(weights, np.eye(channels, dtype=np.float32)).T.copy()
        blocks.append(_Block(begin * channels, start * channels, stop * channels, weights))
    return tuple(blocks)

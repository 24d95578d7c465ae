"""A snapshot's embedding: of the whole picture and of its middle, twice nearer.

One picture is one distance to the part; the next will be another. Of mirroring, turning, relighting
and cropping, only cropping helped measurably (benchmarks/snapshots.py and
docs/explanation/scoring.md).
"""

from __future__ import annotations

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.embedder import Embedder

CROPS = (1.0, 0.85, 0.7)
"""Shares of width and height that the views keep."""


def cropped(image: Image, share: float) -> Image:
    """Return the middle of a picture: `share` of its width and height."""
    height, width = image.shape[:2]
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def embed_snapshot(embedder: Embedder, image: Image) -> Embeddings:
    """Return the mean embedding of a snapshot's views, in one inference.

    Args:
        embedder: A session, or anything like it.
        image: uint8 (H, W, 3), BGR.

    Returns:
        float32 (D,).
    """
    views = np.stack([prepare(cropped(image, share), embedder.spec) for share in CROPS])
    mean: Embeddings = embedder.embed(views).mean(axis=0, dtype=np.float32)
    return mean

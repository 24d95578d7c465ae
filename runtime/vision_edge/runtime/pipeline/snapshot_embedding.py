"""A snapshot's embedding: of the whole picture and of its middle, twice nearer.

One picture is one distance to the part; the next will be another. Of mirroring, turning, relighting
and cropping, only cropping helped measurably (benchmarks/snapshots.py and
docs/explanation/scoring.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.catalogue import catalogue_views, is_catalogue
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.crops import CROPS, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.embedder import Embedder


def kept_snapshot(embedder: Embedder, jpeg: bytes, origin: str) -> Snapshot:
    """Make a snapshot of a picture as a gallery keeps it.

    Args:
        embedder: A session, or anything like it.
        jpeg: Its bytes; a catalogue picture says so itself.
        origin: Where it came from.

    Raises:
        ImageError: If it cannot be decoded.
    """
    image = decode_image(jpeg, origin)
    views = catalogue_views(image) if is_catalogue(jpeg) else snapshot_views(image)
    return Snapshot(jpeg, _embed_views(embedder, views), origin)


def snapshot_views(image: Image) -> list[Image]:
    """Return a snapshot's views: uint8 (H, W, 3) BGR, the whole picture first."""
    return [cropped(image, share) for share in CROPS]


def embed_snapshot(embedder: Embedder, image: Image) -> Embeddings:
    """Return the mean embedding of a snapshot's views, in one inference.

    Args:
        embedder: A session, or anything like it.
        image: uint8 (H, W, 3), BGR.

    Returns:
        float32 (D,).
    """
    return _embed_views(embedder, snapshot_views(image))


def _embed_views(embedder: Embedder, views: Sequence[Image]) -> Embeddings:
    """Return the mean embedding of views, float32 (D,), in one inference."""
    prepared = np.stack([prepare(view, embedder.spec) for view in views])
    mean: Embeddings = embedder.embed(prepared).mean(axis=0, dtype=np.float32)
    return mean

"""A snapshot's embedding: of the whole picture and of its middle, twice nearer.

One picture is one distance to the part; the next will be another. Of mirroring, turning, relighting
and cropping, only cropping helped measurably (benchmarks/snapshots.py and
docs/explanation/scoring.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.catalogue import catalogue_views, is_catalogue
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.crops import CROPS, FRAME_CROP, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.embedder import Embedder, embed_with_patches

_AS_FRAMES = CROPS.index(FRAME_CROP)  # the view whose patches are kept: that of frames


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
    if is_catalogue(jpeg):  # its patches, on white, are not compared with a camera's
        return Snapshot(jpeg, _embed_views(embedder, catalogue_views(image))[0], origin)
    embedding, patches = _embed_views(embedder, snapshot_views(image))
    return Snapshot(jpeg, embedding, origin, None if patches is None else patches[_AS_FRAMES])


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
    return _embed_views(embedder, snapshot_views(image))[0]


def _embed_views(embedder: Embedder, views: Sequence[Image]) -> tuple[Embeddings, Patches | None]:
    """Return the mean embedding of V views, float32 (D,), and their patches, float32 (V, T, D)."""
    prepared = np.stack([prepare(view, embedder.spec) for view in views])
    embeddings, patches = embed_with_patches(embedder, prepared)
    mean: Embeddings = embeddings.mean(axis=0, dtype=np.float32)
    return mean, patches

"""Snapshots that are unlike the rest of their product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.gallery.reader import GalleryReader

ODD_FACTOR, ODD_LEAST = 2.0, 4
"""Among so many snapshots, one is odd when it lies this many times farther off than the median."""


def odd_ones(gallery: GalleryReader) -> dict[int, float]:
    """Return snapshots that are unlike the rest of their product, with how many times too far.

    Only products of at least `ODD_LEAST` snapshots can tell.
    """
    found: dict[int, float] = {}
    for snapshots in gallery.state().values():
        if len(snapshots) < ODD_LEAST:
            continue
        distances = _distances_to_the_rest(gallery.snapshots.vectors(snapshots, gallery.model))
        ratios = distances / max(float(np.median(distances)), 1e-9)
        odd = zip(snapshots, ratios, strict=True)
        found.update({i: float(ratio) for i, ratio in odd if ratio > ODD_FACTOR})
    return found


def _distances_to_the_rest(vectors: Embeddings) -> NDArray[np.float64]:
    """Return each row's distance to the mean of the others: float64 (N,)."""
    count = len(vectors)
    others = (vectors.sum(axis=0, dtype=np.float64) - vectors) / (count - 1)
    distances: NDArray[np.float64] = np.linalg.norm(vectors - others, axis=1)
    return distances

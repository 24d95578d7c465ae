"""Agreement of two embedders on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.errors import ExportError


@dataclass(frozen=True)
class Parity:
    """Agreement of two embedders on the same images.

    Attributes:
        images: How many images were compared.
        min_cosine: The worst image's cosine similarity.
        mean_cosine: The mean over all images.
        worst: Index of the worst image.
    """

    images: int
    min_cosine: float
    mean_cosine: float
    worst: int


def compare(reference: Embeddings, candidate: Embeddings) -> Parity:
    """Compare embeddings row by row.

    Args:
        reference: float32 (N, D).
        candidate: float32 (N, D).

    Raises:
        ExportError: If shapes differ or a value is not finite.
    """
    if reference.shape != candidate.shape or not len(reference):
        raise ExportError(f"cannot compare embeddings {reference.shape} and {candidate.shape}")
    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        raise ExportError(
            "the embeddings hold values that are not finite (NaN or infinity)",
            fix="check the backbone's weights and the adapter",
        )
    left, right = reference.astype(np.float64), candidate.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(axis=1) / np.maximum(lengths, 1e-12)
    worst = int(cosines.argmin())
    return Parity(len(cosines), float(cosines[worst]), float(cosines.mean()), worst)

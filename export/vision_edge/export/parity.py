"""The parity gate: an export is used only if it gives the PyTorch model's embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.preprocess import Image
from vision_edge.runtime.session import Embedder

MIN_COSINE_FP32 = 0.9999


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


def gate(
    reference: Embedder, candidate: Embedder, prepared: Image, minimum: float = MIN_COSINE_FP32
) -> tuple[Parity, Embeddings]:
    """Compare two embedders on prepared images and refuse a disagreement.

    The candidate embeds one image at a time and the reference a batch, so a batch that the export
    froze, or an answer that depends on its neighbours, shows as well.

    Args:
        reference: The PyTorch model.
        candidate: The exported one.
        prepared: uint8 (N, S, S, 3), BGR.
        minimum: Least cosine similarity of any image.

    Returns:
        The agreement, and the candidate's embeddings float32 (N, D).

    Raises:
        ExportError: If the worst image falls below `minimum`.
    """
    expected = reference.embed(prepared)
    got = np.concatenate([candidate.embed(image[None]) for image in prepared])
    parity = compare(expected, got)
    if not parity.min_cosine >= minimum:
        raise ExportError(
            f"parity gate: the exported model disagrees with the PyTorch one: cosine "
            f"{parity.min_cosine:.6f} on image {parity.worst} of {parity.images} (at least "
            f"{minimum} is asked, the mean is {parity.mean_cosine:.6f}); nothing was written",
            fix="report this with the backbone's name; another opset or precision may help",
        )
    return parity, got

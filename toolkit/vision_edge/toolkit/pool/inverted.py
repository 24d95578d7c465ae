"""What inversion makes of one adapter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image


@dataclass(frozen=True)
class Inverted:
    """The synthetic images of one adapter.

    Attributes:
        images: uint8 (n, S, S, 3), BGR.
        labels: int64 (n,): which class of the head each was made for.
        logits: float32 (n, K): what the adapter with its head says of the images.
        order: int16 (n, P): each image's patches, the most important to [CLS] first.
        cross_entropy: Loss of the kept images, rolled and flipped as in the iteration in which
            they were kept.
        prior: R of the same.
    """

    images: Image
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    order: NDArray[np.int16]
    cross_entropy: float
    prior: float

    @property
    def agreement(self) -> float:
        """Share of the images that the adapter gives the class they were made for."""
        return float((self.logits.argmax(1) == self.labels).mean())

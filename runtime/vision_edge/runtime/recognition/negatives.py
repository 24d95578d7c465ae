"""Negatives: pictures of what is not a product, though it looks like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.product_scores import Scores, cosines, normalise

REJECTED = np.float32(-2.0)
"""A score below any cosine: the product is out of the race."""


@dataclass(frozen=True)
class Negatives:
    """Images that an operator said are not what they seem.

    Attributes:
        embeddings: float32 (K, D).
        products: Of each, the product that it is not; None if it is no product at all.
    """

    embeddings: Embeddings
    products: tuple[str | None, ...]


class Rejects:
    """Takes a product out of the race where one of its negatives is nearer."""

    def __init__(self, labels: Sequence[str], centre: Embeddings, negatives: Negatives) -> None:
        self._unit = normalise(negatives.embeddings.reshape(-1, len(centre)), centre)
        self._columns = [
            slice(None) if product is None else [labels.index(product)]
            for product in negatives.products
            if product is None or product in labels
        ]
        kept = [product is None or product in labels for product in negatives.products]
        self._unit = self._unit[np.asarray(kept, dtype=bool)]

    def apply(self, queries: Embeddings, scores: Scores) -> Scores:
        """Return float32 (N, P) scores, `REJECTED` where a negative is at least as near."""
        likeness = cosines(queries, self._unit)  # (N, K)
        for column, products in enumerate(self._columns):
            part = scores[:, products]
            scores[:, products] = np.where(likeness[:, column, None] >= part, REJECTED, part)
        return scores

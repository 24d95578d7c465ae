"""Ranking the nearest products anew, by what the pictures are made of.

Two products that are alike as a whole may differ in their parts. A picture's patches are compared
with a snapshot's one by one: how well, on average, is each found there? (The one-sided half of a
Chamfer similarity; for few-shot learning e.g. DN4, Li et al. 2019, equation 3, with one neighbour.)
The patches decide which of the nearest products it is; how sure that is stays the embedding's say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_edge.runtime.arrays import Patches
from vision_edge.runtime.recognition.negatives import REJECTED
from vision_edge.runtime.recognition.product_scores import Scores

NEAREST = 5
"""How many of the nearest products are compared by their patches."""
PER_PRODUCT = 10
"""How many of a product's snapshots are looked at: the latest."""


def patch_score(query: Patches, snapshot: Patches) -> float:
    """Return how well a picture's patches are found in a snapshot's, from -1 to 1.

    Args:
        query: float32 (T, D), unit rows.
        snapshot: float32 (S, D), unit rows.
    """
    return float((query @ snapshot.T).max(axis=1).mean())


class PatchRanking:
    """Prefers, among the nearest products, the one whose snapshots hold a picture's patches.

    Args:
        products: Of each product, in the classifier's order, its snapshots' patches: each float32
            or float16 (T, D), unit rows. Products without any are neither preferred nor passed
            over.
        weight: What a patch score counts beside a cosine.
    """

    def __init__(self, products: Sequence[Sequence[Patches]], weight: float) -> None:
        self._products = [list(patches)[-PER_PRODUCT:] for patches in products]
        self._weight = weight

    def preferences(self, scores: Scores, patches: Sequence[Patches | None]) -> Scores:
        """Return what the products are ranked by.

        Args:
            scores: float32 (N, P), cosines.
            patches: Of each of N pictures its patches, float32 (T, D), or None.

        Returns:
            float32 (N, P): `scores`, and more for the nearest.
        """
        preferred = scores.copy()
        for row, query in enumerate(patches):
            if query is not None:
                self._prefer(preferred[row], query)
        return preferred

    def _prefer(self, scores: Scores, query: Patches) -> None:
        """Add to the scores (P,) of one picture's nearest products, in place."""
        count = min(NEAREST, len(scores))
        nearest = np.argpartition(-scores, count - 1)[:count]
        racing = [int(product) for product in nearest if scores[product] > REJECTED]
        found = {product: self._score(product, query) for product in racing}
        known = [score for score in found.values() if score is not None]
        if len(known) < 2:
            return
        middle = float(np.mean(known))
        for product, score in found.items():
            scores[product] += self._weight * (middle if score is None else score)

    def _score(self, product: int, query: Patches) -> float | None:
        """Return the best patch score among a product's snapshots; None if it has no patches."""
        snapshots = self._products[product]
        if not snapshots:
            return None
        return max(patch_score(query, snapshot.astype(np.float32)) for snapshot in snapshots)

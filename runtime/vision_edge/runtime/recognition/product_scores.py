"""How near a picture is to each product: to the mean of its snapshots, and to the nearest one.

A mean of several snapshots is less noisy than any of them, so everything is nearer to it, strangers
too: by the same amount in every domain and with every model that was measured. That amount is taken
off, so that products of one snapshot and of ten compete, and are judged, as equals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings

Scores = NDArray[np.float32]

PRIOR_WEIGHT = 12.0
"""How many products the bundle's centre counts for; 4 to 40 were tried on train and val splits."""
NEAREST_SHARE = 0.3
"""What the nearest snapshot counts beside the mean; 0 to 1 were tried."""
MEAN_GAIN = 0.09
"""How much nearer a mean of K snapshots is to strangers: this times (1 - 1/K), for K = 1 to 10."""
SHORTLIST = 64
"""Of so many products the snapshots are looked at one by one; beyond, the nearest means' are."""
MOST_EACH = 4096
"""Of so many snapshots every one is looked at for being the very picture."""

_EPSILON = 1e-12


def centre_of(
    prototypes: Embeddings, prior: Embeddings | None = None, weight: float = PRIOR_WEIGHT
) -> Embeddings:
    """Return the point from which directions are compared.

    The mean of the prototypes describes the station's own domain best, but needs several
    products: one alone would be its own centre, and two would always be opposites. So it is drawn
    towards the bundle's own centre, which counts for `weight` products:
    `(weight * prior + sum(prototypes)) / (weight + P)`.

    Args:
        prototypes: float32 (P, D).
        prior: float32 (D,), the bundle's centre; without it the plain mean is returned, as in an
            N-way episode.
        weight: Number of products that the prior counts for.

    Returns:
        float32 (D,).
    """
    if prior is None:
        mean: Embeddings = prototypes.mean(axis=0, dtype=np.float32)
        return mean
    total = weight * prior.astype(np.float64) + prototypes.sum(axis=0, dtype=np.float64)
    centre: Embeddings = (total / (weight + len(prototypes))).astype(np.float32)
    return centre


def normalise(embeddings: Embeddings, centre: Embeddings) -> Embeddings:
    """Subtract the centre and scale each row to length 1: float32 (N, D)."""
    centred = embeddings - centre
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    unit: Embeddings = (centred / np.maximum(length, _EPSILON)).astype(np.float32)
    return unit


def centred_cosine(queries: Embeddings, prototypes: Embeddings, centre: Embeddings) -> Scores:
    """Score queries by cosine similarity about a centre.

    Args:
        queries: float32 (N, D).
        prototypes: float32 (P, D).
        centre: float32 (D,).

    Returns:
        float32 (N, P), from -1 to 1; larger is nearer.
    """
    return cosines(normalise(queries, centre), normalise(prototypes, centre))


def cosines(left: Embeddings, right: Embeddings) -> Scores:
    """Return the products of unit rows, within [-1, 1] whatever rounding does."""
    scores: Scores = np.clip(left @ right.T, -1.0, 1.0)
    return scores


class ProductScores:
    """Scores pictures by their likeness to products, about the products' common centre.

    Args:
        snapshots: Of each of P products its snapshots, float32 (K, D), K at least 1.
        prior: float32 (D,), the bundle's centre.
        centre: float32 (D,), in place of the one that the products and the prior give.

    Attributes:
        centre: float32 (D,).
        counts: int (P,), snapshots of each.
    """

    def __init__(
        self,
        snapshots: Sequence[Embeddings],
        prior: Embeddings,
        centre: Embeddings | None = None,
    ) -> None:
        self.counts = np.array([len(rows) for rows in snapshots], dtype=np.intp)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.intp)
        every = np.concatenate(list(snapshots)).astype(np.float32, copy=False)
        sums = np.add.reduceat(every, self._starts, axis=0, dtype=np.float64)
        means = (sums / self.counts[:, None]).astype(np.float32)
        self.centre = centre_of(means, prior) if centre is None else centre
        self._means = normalise(means, self.centre)
        self._several = bool(self.counts.max(initial=0) > 1)
        self._each = normalise(every, self.centre) if self._several else self._means
        self._gain = (MEAN_GAIN * (1.0 - 1.0 / self.counts)).astype(np.float32)

    def units(self, embeddings: Embeddings) -> Embeddings:
        """Return directions from the centre, float32 (N, D), of embeddings (N, D) or (D,)."""
        return normalise(np.atleast_2d(embeddings), self.centre)

    def of(self, units: Embeddings) -> Scores:
        """Return the score of unit directions (N, D) for each product: float32 (N, P)."""
        means = cosines(units, self._means)
        if not self._several:
            return means
        if len(self.counts) <= SHORTLIST:
            return self._mixed(means, self._nearest(units)) - self._gain
        return self._shortlisted(units, means)

    def likeness(self, unit: Embeddings, products: NDArray[np.intp]) -> Scores:
        """Return the cosine of a unit direction (D,) to products' nearest snapshots: float32."""
        rows = [slice(self._starts[p], self._starts[p] + self.counts[p]) for p in products]
        found = [float((self._each[of] @ unit).max()) for of in rows]
        return np.clip(np.asarray(found, np.float32), -1.0, 1.0)

    def nearest_snapshot(
        self, units: Embeddings, best: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], Scores]:
        """Return the product of the nearest snapshot, int (N,), and the cosine to it, float32 (N,).

        Args:
            units: float32 (N, D), unit directions.
            best: int (N,), the products of the best scores: among very many snapshots only theirs
                are looked at.
        """
        if len(self._each) > MOST_EACH:
            likeness = [self.likeness(u, p) for u, p in zip(units, best[:, None], strict=True)]
            return best, np.concatenate(likeness)
        nearest = self._nearest(units)
        products = nearest.argmax(axis=1)
        return products, nearest[np.arange(len(units)), products]

    @staticmethod
    def _mixed(means: Scores, nearest: Scores) -> Scores:
        mixed: Scores = (1.0 - NEAREST_SHARE) * means + NEAREST_SHARE * nearest
        return mixed.astype(np.float32)

    def _nearest(self, units: Embeddings) -> Scores:
        """Return the cosine to each product's nearest snapshot: float32 (N, P)."""
        nearest: Scores = np.maximum.reduceat(cosines(units, self._each), self._starts, axis=1)
        return nearest

    def _shortlisted(self, units: Embeddings, means: Scores) -> Scores:
        """Look at single snapshots for the nearest means alone: the others cannot win by them."""
        scores: Scores = means - self._gain
        for row, unit in enumerate(units):
            chosen = np.argpartition(-scores[row], SHORTLIST - 1)[:SHORTLIST]
            nearest = self.likeness(unit, chosen)
            scores[row, chosen] = self._mixed(means[row, chosen], nearest) - self._gain[chosen]
        return scores

"""Nearest-prototype classification: the scoring that toolkit and edge share.

A prototype is a product's mean support embedding (Snell et al. 2017, Prototypical Networks,
eq. 1). Embeddings are centred before they are compared by cosine (the "CL2N" of Wang et al. 2019,
SimpleShot): a common offset of all images of one domain says nothing about their differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.errors import VisionEdgeError

Scores = NDArray[np.float32]
PRIOR_WEIGHT = 4.0
"""How many products the bundle's centre counts for; chosen on train splits, see docs/scoring.md."""

_EPSILON = 1e-12


def centre_of(
    prototypes: Embeddings, prior: Embeddings | None = None, weight: float = PRIOR_WEIGHT
) -> Embeddings:
    """Return the point from which directions are compared.

    The mean of the prototypes describes the station's own domain best, but needs several
    products: one alone would be its own centre, and two would always be opposites. So it is drawn
    towards the bundle's mean embedding, which counts for `weight` products:
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
    scores: Scores = normalise(queries, centre) @ normalise(prototypes, centre).T
    return scores


def negative_euclidean(queries: Embeddings, prototypes: Embeddings) -> Scores:
    """Score queries by minus the Euclidean distance: float32 (N, P); larger is nearer."""
    squared = (
        np.square(queries).sum(axis=1)[:, None]
        - 2.0 * queries @ prototypes.T
        + np.square(prototypes).sum(axis=1)[None]
    )
    scores: Scores = -np.sqrt(np.maximum(squared, 0.0)).astype(np.float32)
    return scores


@dataclass(frozen=True)
class Decision:
    """The answer for one embedding.

    Attributes:
        label: The nearest product, or None when the answer is *unknown*.
        nearest: The nearest product, also when the answer is unknown.
        score: Centred cosine similarity to the nearest product, from -1 to 1.
        margin: That score minus the runner-up's, from 0 to 2; None with one product.
        known: Whether the score reaches the threshold.
    """

    label: str | None
    nearest: str
    score: float
    margin: float | None
    known: bool


class PrototypeClassifier:
    """Classifies embeddings by their nearest prototype, or as unknown.

    Args:
        labels: The products' names, P of them.
        prototypes: float32 (P, D).
        prior: float32 (D,), the bundle's centre.
        cohort: float32 (M, D), embeddings of images that are none of the products.
        false_accept_rate: Share of impostors that may be taken for a product, in (0, 1).
        threshold: A fixed threshold on the score instead of one from the cohort.

    Raises:
        VisionEdgeError: If there are no products, or shapes or rates do not fit.
    """

    def __init__(
        self,
        labels: Sequence[str],
        prototypes: Embeddings,
        prior: Embeddings,
        cohort: Embeddings,
        *,
        false_accept_rate: float = 0.05,
        threshold: float | None = None,
    ) -> None:
        if not labels:
            raise VisionEdgeError(
                "there are no products to compare with",
                fix="register one first: vision-edge register BUNDLE LABEL IMAGE --gallery FILE",
            )
        if not 0.0 < false_accept_rate < 1.0:
            raise VisionEdgeError(
                f"false_accept_rate must lie between 0 and 1; got {false_accept_rate}",
                fix="0.05 accepts one impostor in twenty",
            )
        if prototypes.shape != (len(labels), prior.shape[-1]):
            raise VisionEdgeError(
                f"{len(labels)} labels need prototypes ({len(labels)}, {prior.shape[-1]}); "
                f"got {prototypes.shape}"
            )
        self.labels = tuple(labels)
        self.centre = centre_of(prototypes, prior)
        self._unit = normalise(prototypes, self.centre)
        self.threshold = (
            impostor_threshold(self._unit, normalise(cohort, self.centre), false_accept_rate)
            if threshold is None
            else threshold
        )

    def classify(self, embeddings: Embeddings) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; N decisions, in order."""
        scores = normalise(np.atleast_2d(embeddings), self.centre) @ self._unit.T
        return [self._decide(row) for row in scores]

    def _decide(self, scores: Scores) -> Decision:
        best = int(scores.argmax())
        score = float(scores[best])
        margin = None
        if len(scores) > 1:
            margin = score - float(np.delete(scores, best).max())
        known = score >= self.threshold
        nearest = self.labels[best]
        return Decision(nearest if known else None, nearest, score, margin, known)


def impostor_threshold(products: Embeddings, cohort: Embeddings, rate: float) -> float:
    """Return the score that only a share `rate` of impostors reaches.

    Impostors are the cohort's images and, since they come from the station's own domain, the
    products themselves: each one, were it not registered, would be a stranger to the others. The
    stricter of the two quantiles is taken; products take part from three on, for below that
    their distances about a common centre say nothing.

    Args:
        products: float32 (P, D), centred unit prototypes.
        cohort: float32 (M, D), centred unit embeddings.
        rate: Share of impostors that may pass.

    Returns:
        A threshold on the centred cosine score.
    """
    threshold = -1.0
    if len(cohort):
        threshold = float(np.quantile((cohort @ products.T).max(axis=1), 1.0 - rate))
    if len(products) >= 3:
        among = products @ products.T
        np.fill_diagonal(among, -np.inf)
        threshold = max(threshold, float(np.quantile(among.max(axis=1), 1.0 - rate)))
    return threshold

"""Nearest-prototype classification: the scoring that toolkit and edge share.

A prototype is a product's mean support embedding (Snell et al. 2017, Prototypical Networks,
eq. 1). Embeddings are centred before they are compared by cosine (the "CL2N" of Wang et al. 2019,
SimpleShot): a common offset of all images of one domain says nothing about their differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.errors import VisionEdgeError

Scores = NDArray[np.float32]
PRIOR_WEIGHT = 4.0
"""How many products the bundle's centre counts for; chosen on train splits, see docs/scoring.md."""

STRANGER_MEAN, STRANGER_STD = 0.45, 0.2
"""Scores between two classes of one domain before any are known; chosen on train splits."""
MAX_THRESHOLD = 0.95
MIN_RATE = 1e-6

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
    return _cosines(normalise(queries, centre), normalise(prototypes, centre))


def _cosines(left: Embeddings, right: Embeddings) -> Scores:
    """Return the products of unit rows, within [-1, 1] whatever rounding does."""
    scores: Scores = np.clip(left @ right.T, -1.0, 1.0)
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


@dataclass(frozen=True)
class Cohort:
    """Images that show none of the products: what strangers look like.

    Attributes:
        embeddings: float32 (M, D).
        from_station: Whether they come from the station's own camera or its like. Only then do
            their scores tell which scores strangers reach; generated scenes are too unlike
            anything for that.
    """

    embeddings: Embeddings
    from_station: bool


class PrototypeClassifier:
    """Classifies embeddings by their nearest prototype, or as unknown.

    Args:
        labels: The products' names, P of them.
        prototypes: float32 (P, D).
        prior: float32 (D,), the bundle's centre.
        cohort: Images that are none of the products.
        false_accept_rate: Share of strangers that may be taken for a product, in (0, 1).
        threshold: A fixed threshold on the score instead of one from the cohort.

    Raises:
        VisionEdgeError: If there are no products, or shapes or rates do not fit.
    """

    def __init__(
        self,
        labels: Sequence[str],
        prototypes: Embeddings,
        prior: Embeddings,
        cohort: Cohort,
        *,
        false_accept_rate: float = 0.05,
        threshold: float | None = None,
    ) -> None:
        _check_products(labels, prototypes, prior, false_accept_rate)
        if threshold is not None and not np.isfinite(threshold):
            raise VisionEdgeError(
                f"a threshold on the score must be a number; got {threshold}",
                fix="leave it out to have one from the false-accept rate",
            )
        self.labels = tuple(labels)
        self.centre = centre_of(prototypes, prior)
        self._unit = normalise(prototypes, self.centre)
        if threshold is None:
            threshold = stranger_threshold(self._unit, self._centred(cohort), false_accept_rate)
        self.threshold = threshold

    def _centred(self, cohort: Cohort) -> Cohort:
        return Cohort(normalise(cohort.embeddings, self.centre), cohort.from_station)

    def classify(self, embeddings: Embeddings) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; N decisions, in order."""
        scores = _cosines(normalise(np.atleast_2d(embeddings), self.centre), self._unit)
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


def _check_products(
    labels: Sequence[str], prototypes: Embeddings, prior: Embeddings, rate: float
) -> None:
    if not labels:
        raise VisionEdgeError(
            "there are no products to compare with",
            fix="register one first: vision-edge register BUNDLE LABEL IMAGE --gallery FILE",
        )
    if not MIN_RATE <= rate < 1.0:
        raise VisionEdgeError(
            f"the false-accept rate must lie between 0 and 1, at least {MIN_RATE:g}; got {rate}",
            fix="0.05 accepts one stranger in twenty",
        )
    if prototypes.shape != (len(labels), prior.shape[-1]):
        raise VisionEdgeError(
            f"{len(labels)} labels need prototypes ({len(labels)}, {prior.shape[-1]}); "
            f"got {prototypes.shape}"
        )


def stranger_threshold(products: Embeddings, cohort: Cohort, rate: float) -> float:
    """Return the score that only a share `rate` of strangers should reach.

    Two products are strangers to each other, and they come from the station's own domain: their
    scores among themselves are taken as draws from a normal distribution, together with
    `STRANGER_MEAN` and `STRANGER_STD` as one more draw (or, with a cohort from the station, the
    cohort's mean and deviation). A stranger meets P products and keeps its best score, so the
    quantile asked of each is `(1 - rate) ** (1 / P)`. A cohort from the station must besides
    itself stay below the threshold but for a share `rate`.

    Args:
        products: float32 (P, D), centred unit prototypes.
        cohort: Centred unit embeddings, (M, D).
        rate: Share of strangers that may pass.

    Returns:
        A threshold on the centred cosine score, at most `MAX_THRESHOLD`.
    """
    count = len(products)
    pairs = (products @ products.T)[np.triu_indices(count, 1)].astype(np.float64)
    mean, std, floor = STRANGER_MEAN, STRANGER_STD, -1.0
    if cohort.from_station and len(cohort.embeddings):
        scores = cohort.embeddings @ products.T  # (M, P)
        mean, std = float(scores.mean()), float(scores.std())
        floor = float(np.quantile(scores.max(axis=1), 1.0 - rate))
    centre = (mean + pairs.sum()) / (1 + len(pairs))
    spread = std**2 + (mean - centre) ** 2 + np.square(pairs - centre).sum()
    deviation = float(np.sqrt(spread / (1 + len(pairs))))
    quantile = NormalDist().inv_cdf((1.0 - rate) ** (1.0 / count))
    return min(MAX_THRESHOLD, max(floor, float(centre) + quantile * deviation))

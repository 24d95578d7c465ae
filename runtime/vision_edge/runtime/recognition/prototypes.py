"""Nearest-prototype classification: the scoring that toolkit and edge share.

A prototype is a product's mean support embedding (Snell et al. 2017, Prototypical Networks,
eq. 1). Embeddings are centred before they are compared by cosine (the "CL2N" of Wang et al. 2019,
SimpleShot): a common offset of all images of one domain says nothing about their differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings, Patches
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.recognition.strangers import (
    COHORT_NEAREST,
    Cohort,
    cohort_shift,
    fit_cohort,
    stranger_models,
)

Scores = NDArray[np.float32]
Band = Literal["accept", "review", "unknown"]
PRIOR_WEIGHT = 4.0
"""How many products the bundle's centre counts for; chosen on train splits: see scoring.md."""

MIN_RATE = 1e-6
REVIEW_FACTOR, MAX_REVIEW_RATE = 5.0, 0.5
"""A person looks at what so many times the asked share of strangers would reach."""

Floats = NDArray[np.float64]
REJECTED = np.float32(-2.0)
"""A score below any cosine: the product is out of the race."""

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
        margin: That score minus the runner-up's, from 0 to 2 (with patches: of what they were
            ranked by); None with one product.
        known: Whether the answer is a product.
        review: Whether it is unknown, but near enough to be worth a person's look.
        stranger_rate: Estimated share of strangers that would be as near, from 0 to 1; None with a
            fixed threshold, which says nothing of strangers.
    """

    label: str | None
    nearest: str
    score: float
    margin: float | None
    known: bool
    review: bool = False
    stranger_rate: float | None = None

    @property
    def band(self) -> Band:
        """`"accept"`, `"review"` or `"unknown"`."""
        if self.known:
            return "accept"
        return "review" if self.review else "unknown"


NOTHING_KNOWN = Decision(None, "", -1.0, None, False)
"""The answer to everything while no product is registered."""


class Classifier(Protocol):
    """Anything that decides on embeddings; a station's changes its mind when its gallery does."""

    def classify(
        self, embeddings: Embeddings, patches: Sequence[Patches | None] | None = None
    ) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; N decisions, in order."""


class Ranking(Protocol):
    """Anything that prefers some of the nearest products to others."""

    def preferences(self, scores: Scores, patches: Sequence[Patches | None]) -> Scores:
        """Return what is ranked by, float32 (N, P), for scores and the patches of N pictures."""


@dataclass(frozen=True)
class Negatives:
    """Images that an operator said are not what they seem.

    Attributes:
        embeddings: float32 (K, D).
        products: Of each, the product that it is not; None if it is no product at all.
    """

    embeddings: Embeddings
    products: tuple[str | None, ...]


class PrototypeClassifier:
    """Classifies embeddings by their nearest prototype, or as unknown.

    Args:
        labels: The products' names, P of them.
        prototypes: float32 (P, D).
        prior: float32 (D,), the bundle's centre.
        cohort: Images that are none of the products.
        false_accept_rate: Share of strangers that may be taken for a product, in (0, 1).
        threshold: A fixed threshold on the score instead of one from the false-accept rate.
        negatives: What an operator said is not a product: whoever is nearer to it than to the
            product is not that product.
        ranking: Ranks the nearest products anew by their patches.
        cohort_alone: Whether products do not tell what strangers reach, a cohort from the station
            alone does: pictures of a catalogue are more alike, and more unlike, than a camera's.

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
        negatives: Negatives | None = None,
        ranking: Ranking | None = None,
        cohort_alone: bool = False,
    ) -> None:
        _check_products(labels, prototypes, prior, false_accept_rate)
        if threshold is not None and not np.isfinite(threshold):
            raise VisionEdgeError(
                f"a threshold on the score must be a number; got {threshold}",
                fix="leave it out to have one from the false-accept rate",
            )
        self.labels = tuple(labels)
        self.threshold = threshold
        self.false_accept_rate = false_accept_rate
        self.review_rate = min(MAX_REVIEW_RATE, REVIEW_FACTOR * false_accept_rate)
        self.centre = centre_of(prototypes, prior)
        self._unit = normalise(prototypes, self.centre)
        impostors = cohort.embeddings if cohort.photographs else cohort.embeddings[:0]
        own = Cohort(normalise(impostors, self.centre), cohort.from_station)
        self._cohort = own.embeddings
        alone = cohort_alone and own.from_station and len(own.embeddings) > COHORT_NEAREST
        self._strangers = (
            (fit_cohort(self._unit, own.embeddings),) if alone else stranger_models(self._unit, own)
        )
        self._ranking = ranking
        self._rejects = _Rejects(self.labels, self.centre, negatives) if negatives else None

    def scores(self, embeddings: Embeddings) -> Scores:
        """Return the centred cosine of float32 (N, D) with each product: float32 (N, P)."""
        return _cosines(normalise(np.atleast_2d(embeddings), self.centre), self._unit)

    def classify(
        self, embeddings: Embeddings, patches: Sequence[Patches | None] | None = None
    ) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; N decisions, in order.

        Args:
            embeddings: float32 (N, D).
            patches: Of each of them its picture's patches, float32 (T, D) of unit rows, or None:
                where there is a ranking they have a say in which product it is, and none in
                whether it is known.
        """
        queries = normalise(np.atleast_2d(embeddings), self.centre)
        scores = _cosines(queries, self._unit)
        if self._rejects is not None:
            scores = self._rejects.apply(queries, scores)
        ranked = scores
        if self._ranking is not None and patches is not None:
            ranked = self._ranking.preferences(scores, patches)
        best = ranked.argmax(axis=1)
        top = scores[np.arange(len(scores)), best]
        margins = None
        if len(self.labels) > 1:
            margins = np.ptp(np.partition(ranked, -2, axis=1)[:, -2:], axis=1)
        rates = None if self.threshold is not None else self._rates(queries, top, best)
        return [
            self._decide(
                int(best[n]),
                float(top[n]),
                None if margins is None else float(margins[n]),
                None if rates is None else float(rates[n]),
            )
            for n in range(len(scores))
        ]

    def rates_for(self, embeddings: Embeddings, label: str) -> Floats:
        """Return the share of strangers that would be as near to one product: float64 (N,)."""
        queries = normalise(np.atleast_2d(embeddings), self.centre)
        column = self.labels.index(label)
        scores = _cosines(queries, self._unit[column : column + 1])[:, 0]
        return self._rates(queries, scores, np.full(len(queries), column))

    def _rates(self, queries: Embeddings, top: Scores, best: NDArray[np.intp]) -> Floats:
        """Return the share of strangers as near, by the model that allows the most."""
        normalised = top - cohort_shift(queries, self._cohort)
        rates: Floats = np.max([m.rate(normalised, best) for m in self._strangers], axis=0)
        return rates

    def _decide(
        self, best: int, score: float, margin: float | None, rate: float | None
    ) -> Decision:
        nearest = self.labels[best]
        if score <= REJECTED:  # a negative is nearer than any product
            known = review = False
            score, margin, rate = -1.0, None, None if rate is None else 1.0
        elif rate is None:
            known, review = score >= (self.threshold or 0.0), False
        else:
            known, review = rate <= self.false_accept_rate, rate <= self.review_rate
        return Decision(
            nearest if known else None, nearest, score, margin, known, review and not known, rate
        )


class _Rejects:
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
        likeness = _cosines(queries, self._unit)  # (N, K)
        for column, products in enumerate(self._columns):
            part = scores[:, products]
            scores[:, products] = np.where(likeness[:, column, None] >= part, REJECTED, part)
        return scores


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

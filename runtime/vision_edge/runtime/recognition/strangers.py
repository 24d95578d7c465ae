"""How many strangers would score as high? What *unknown* is decided by.

Two steps, both of which need no stranger of the station's own:

1. Cohort normalisation. A query that resembles many impostors scores high with anything, so half
   of its mean similarity to its nearest impostors is taken off its score (a one-sided, additive
   form of the adaptive t-norm of speaker verification: Sturim and Reynolds 2005, Adaptive speaker
   normalization using a Tnorm-based method).
2. A model of strangers. Each product is a stranger to the others: the best score that its snapshot
   reaches among them is a draw of what a stranger reaches. Their mean, corrected for there being
   one product fewer, and their spread, drawn towards a prior, give a stranger's distribution.

The constants were fitted on train and val splits only, by the experiments that
docs/explanation/scoring.md names.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings

Floats = NDArray[np.float64]

COHORT_WEIGHT = 0.5
"""How much of a query's similarity to its nearest impostors counts against it."""
COHORT_NEAREST = 10
"""How many impostors are near."""

PRIOR_VARIANCE, PRIOR_PRODUCTS = 0.014, 8.0
"""Variance of strangers' scores before any are known, and how many products it counts for."""
MEAN_VARIANCE = 0.04
"""Variance of the mean itself, for one product: what few products do not know."""
ONE_FEWER = 0.5
"""A stranger meets all P products, a product the P - 1 others: it scores this / P higher."""
OWN_SHARE = 0.15
"""Share of a product's own likeness to the others that its threshold follows."""
LONE_MEAN, LONE_STD = 0.4, 0.2
"""Strangers' scores with one product, which says nothing of its domain: rather too strict."""
FREEDOM = 80.0
"""Degrees of freedom of Student's distribution: strangers' tails are heavier than normal."""
FEW_PRODUCTS = 2
"""Up to so many products a cohort from the station alone says what a stranger scores."""

_CHUNK = 1024


@dataclass(frozen=True)
class Cohort:
    """Images that show none of the products: what strangers look like.

    Attributes:
        embeddings: float32 (M, D).
        from_station: Whether they come from the station's own camera or its like. Only then do
            their scores tell which scores strangers reach; generated scenes are too unlike
            anything for that.
        photographs: Whether they are photographs, of whatever. What resembles generated scenes is
            not thereby more like a stranger, so those are taken off no score.
    """

    embeddings: Embeddings
    from_station: bool
    photographs: bool = True


def cohort_shift(queries: Embeddings, cohort: Embeddings, *, own: bool = False) -> Floats:
    """Return what is taken off the scores of queries for resembling impostors.

    Args:
        queries: float32 (N, D), centred unit embeddings.
        cohort: float32 (M, D), centred unit embeddings.
        own: Whether the queries are the cohort itself: none is its own impostor.

    Returns:
        float64 (N,); zeros without a cohort.
    """
    count = min(COHORT_NEAREST, len(cohort) - own)
    if count < 1:
        return np.zeros(len(queries))
    likeness = queries @ cohort.T
    if own:
        np.fill_diagonal(likeness, -np.inf)
    nearest = np.partition(likeness, -count, axis=1)[:, -count:]
    shift: Floats = COHORT_WEIGHT * nearest.mean(axis=1, dtype=np.float64)
    return shift


@dataclass(frozen=True)
class Strangers:
    """Student's distribution of the best normalised score that a stranger reaches.

    Attributes:
        mean: Over all products.
        std: Spread about it.
        offsets: float64 (P,): by how much each product's strangers score higher than `mean`.
    """

    mean: float
    std: float
    offsets: Floats

    def rate(self, scores: Floats, products: NDArray[np.intp]) -> Floats:
        """Return the share of strangers that would score at least as high.

        Args:
            scores: float64 (N,), normalised scores.
            products: int (N,), the product that each is for.

        Returns:
            float64 (N,), from 0 to 1.
        """
        deviations = (scores - self.mean - self.offsets[products]) / self.std
        return np.array([1.0 - NormalDist().cdf(z) for z in _as_normal(deviations)])


def fit_strangers(products: Embeddings, cohort: Embeddings) -> Strangers:
    """Fit the distribution to the products, each a stranger to the others.

    Args:
        products: float32 (P, D), centred unit prototypes, P at least 1.
        cohort: float32 (M, D), centred unit embeddings.
    """
    count = len(products)
    if count == 1:
        return Strangers(LONE_MEAN, LONE_STD, np.zeros(1))
    reached, received = _best_among_others(products, cohort_shift(products, cohort))
    pooled = PRIOR_PRODUCTS * PRIOR_VARIANCE + count * float(reached.var())
    variance = pooled / (PRIOR_PRODUCTS + count) + MEAN_VARIANCE / count
    mean = float(reached.mean()) + ONE_FEWER / count
    return Strangers(mean, float(np.sqrt(variance)), OWN_SHARE * (received - received.mean()))


def fit_cohort(products: Embeddings, cohort: Embeddings) -> Strangers:
    """Fit the distribution to a cohort from the station: strangers indeed.

    Args:
        products: float32 (P, D), centred unit prototypes.
        cohort: float32 (M, D), centred unit embeddings, M at least 2.
    """
    best = (cohort @ products.T).max(axis=1).astype(np.float64)
    scores = best - cohort_shift(cohort, cohort, own=True)
    std = max(float(scores.std()), float(np.sqrt(PRIOR_VARIANCE)) / 4)
    return Strangers(float(scores.mean()), std, np.zeros(len(products)))


def stranger_models(products: Embeddings, cohort: Cohort) -> tuple[Strangers, ...]:
    """Return the models that a score must satisfy, all of them.

    Args:
        products: float32 (P, D), centred unit prototypes.
        cohort: Centred unit embeddings.
    """
    if not cohort.from_station or len(cohort.embeddings) <= COHORT_NEAREST:
        return (fit_strangers(products, cohort.embeddings),)
    station = fit_cohort(products, cohort.embeddings)
    if len(products) <= FEW_PRODUCTS:
        return (station,)
    return (fit_strangers(products, cohort.embeddings), station)


def _best_among_others(products: Embeddings, shift: Floats) -> tuple[Floats, Floats]:
    """Return the best score each product reaches among the others, and receives from them.

    Args:
        products: float32 (P, D), centred unit prototypes.
        shift: float64 (P,), taken off each one's scores.

    Returns:
        Two float64 (P,).
    """
    count = len(products)
    reached, received = np.empty(count), np.full(count, -np.inf)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        scores = products[start:stop] @ products.T - shift[start:stop, None]
        scores[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        reached[start:stop] = scores.max(axis=1)
        received = np.maximum(received, scores.max(axis=0))
    return reached, received


def _as_normal(deviations: Floats) -> Floats:
    """Turn deviations by Student's distribution into normal ones of the same rank.

    Wallace's approximation (1959, Bounds on normal approximations to Student's and the
    chi-square distributions), in its simple form; exact to 0.001 in the rate.
    """
    squeezed = deviations * (1 - 1 / (4 * FREEDOM))
    normal: Floats = squeezed / np.sqrt(1 + deviations**2 / (2 * FREEDOM))
    return normal

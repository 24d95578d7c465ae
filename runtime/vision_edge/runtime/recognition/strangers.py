"""How many strangers would score as high? What *unknown* is decided by.

What a stranger may reach is told by draws of it, none of which needs a stranger of one's own:

1. Each registered snapshot is a stranger to the *other* products, seen from a centre without its
   own. It is a single picture, as a stranger's will be; the mean of a product's snapshots is not.
2. Frames of the station that show no product are strangers indeed, where there are any.
3. Few draws say little, so they are held together by a prior: Student's distribution about their
   mean, whose width is that of strangers in general. It counts for so many draws of its own: the
   rate is the predictive distribution of a Dirichlet process (Ferguson 1973, A Bayesian analysis
   of some nonparametric problems), with draws smoothed by a kernel. With many products the draws
   alone speak, whatever the shape of their distribution.

Beside that, where photographs of anything but the station are at hand, a query that resembles
many of them scores high with anything, so half of its mean similarity to the nearest is taken off
(a one-sided, additive form of the adaptive t-norm of speaker verification: Sturim and Reynolds
2005, Adaptive speaker normalization using a Tnorm-based method).

The constants were fitted on train and val splits only, by the experiments that docs/scoring.md
names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.product_scores import ProductScores

Floats = NDArray[np.float64]

COHORT_WEIGHT = 0.5
"""How much of a query's similarity to its nearest impostors counts against it."""
COHORT_NEAREST = 10
"""How many impostors are near."""

FRAME_SHARE = 0.97
"""A frame is one view, a snapshot the mean of its crops: a frame's cosines are so much smaller."""
ONE_MORE = 0.09
"""A stranger meets all P products, a snapshot the P - 1 others: it scores higher by this times the
difference of the expected largest of P and of P - 1 normals."""
PRIOR_MEAN, PRIOR_SPREAD = 0.39, 0.295
"""What strangers reach with one product, before any others are known, and how domains differ."""
NOISE, NOISE_POWER, SNAPSHOT_NOISE = 2.44, 0.78, 2.5
"""Variance of the draws' mean, in variances of a draw: `NOISE / P ** NOISE_POWER`, and
`SNAPSHOT_NOISE / K` more of it where products have K snapshots."""
WIDTH, WIDTH_SLOPE, WIDTH_PRODUCTS, LEAST_WIDTH = 0.031, 0.118, 1.28, 0.04
"""Strangers' standard deviation grows with their mean: `WIDTH + WIDTH_SLOPE * mean`; that counts
for so many products beside the draws' own."""
PRIOR_DRAWS, FEWER_DRAWS = 3.15, 0.64
"""How many draws the prior counts for, against the `P - FEWER_DRAWS` of the products."""
KERNEL, KERNEL_WIDTH, KERNEL_PRODUCTS = 0.3, 0.1, 3.0
"""Width of the draws' kernel, in standard deviations of a draw; that standard deviation before any
products are known, and how many of them it counts for."""
LONE_MEAN, LONE_WIDTH = 0.36, 0.16
"""Strangers' scores with one product, which says nothing of its domain: rather too strict."""
STATION_DRAWS = 100.0
"""The frames of a station count for at most so many draws: neighbours in time are alike."""
INTRUDER_RATE, MOST_INTRUDERS = 0.002, 0.2
"""A frame so near to a product is one of it rather than a stranger, and is left out: of the
nearest, at most this share."""

MOST_DRAWS = 256
_EXACT_CENTRES = 64


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

    @property
    def speaking(self) -> bool:
        """Whether it tells which scores strangers reach."""
        return self.from_station and len(self.embeddings) > COHORT_NEAREST

    @property
    def impostors(self) -> Embeddings:
        """What a score is lowered for resembling, float32 (M', D): photographs of anything.

        Not the station's own: its frames resemble one another far more than any product.
        """
        return self.embeddings[
            : len(self.embeddings) * (self.photographs and not self.from_station)
        ]


@dataclass(frozen=True)
class Draws:
    """Scores that strangers reached.

    Attributes:
        scores: float64 (N,).
        weights: float64 (N,), which sum to 1.
        count: How many independent draws they count for.
        kernel: Standard deviation of the normal distribution that each stands for.
    """

    scores: Floats
    weights: Floats
    count: float = 1.0
    kernel: float = KERNEL * KERNEL_WIDTH

    @property
    def mean(self) -> float:
        """Their weighted mean."""
        return float(self.scores @ self.weights)

    @property
    def variance(self) -> float:
        """Their weighted variance."""
        return float(np.square(self.scores - self.mean) @ self.weights)


def cohort_shift(queries: Embeddings, cohort: Embeddings) -> Floats:
    """Return what is taken off the scores of queries for resembling impostors.

    Args:
        queries: float32 (N, D), centred unit embeddings.
        cohort: float32 (M, D), centred unit embeddings.

    Returns:
        float64 (N,); zeros without a cohort.
    """
    count = min(COHORT_NEAREST, len(cohort))
    if count < 1:
        return np.zeros(len(queries))
    likeness = queries @ cohort.T
    nearest = np.partition(likeness, -count, axis=1)[:, -count:]
    shift: Floats = COHORT_WEIGHT * nearest.mean(axis=1, dtype=np.float64)
    return shift


@dataclass(frozen=True)
class Strangers:
    """The distribution of the best score that a stranger reaches.

    Attributes:
        mean: Of the prior, as the products moved it.
        width: Its standard deviation, what is not known of the mean included.
        prior_draws: How many draws the prior counts for.
        draws: By where they come from.
    """

    mean: float
    width: float
    prior_draws: float
    draws: tuple[Draws, ...] = ()

    def rate(self, scores: Floats) -> Floats:
        """Return the share of strangers that would score at least as high.

        Args:
            scores: float64 (N,), normalised scores.

        Returns:
            float64 (N,), from 0 to 1.
        """
        total = self.prior_draws * student_tail((scores - self.mean) / self.width)
        count = self.prior_draws
        for draws in self.draws:
            tails = normal_tail((scores[:, None] - draws.scores) / draws.kernel)
            total = total + draws.count * (tails @ draws.weights)
            count += draws.count
        rates: Floats = np.clip(total / count, 0.0, 1.0)
        return rates


def fit_strangers(
    snapshots: Sequence[Embeddings],
    prior: Embeddings,
    cohort: Cohort,
    *,
    cohort_alone: bool = False,
) -> Strangers:
    """Fit the distribution to the products, each a stranger to the others, and to a cohort.

    Args:
        snapshots: Of each of P products its snapshots, float32 (K, D), K at least 1.
        prior: float32 (D,), the bundle's centre.
        cohort: Images that show none of the products, not centred.
        cohort_alone: Whether only a cohort from the station says what strangers reach, if there is
            enough of one.
    """
    products = ProductScores(snapshots, prior)
    own = None
    if len(snapshots) > 1 and not (cohort_alone and cohort.speaking):
        own = _leave_one_out(snapshots, prior, cohort)
    rivals = ONE_MORE * _largest_of(len(snapshots))
    fitted = told_by(own, products.counts, PRIOR_MEAN + rivals)
    if not cohort.speaking:
        return fitted
    reached = products.of(products.units(cohort.embeddings)).max(axis=1)
    return with_station(fitted, reached.astype(np.float64))


def told_by(own: Draws | None, counts: NDArray[np.intp], expected_mean: float) -> Strangers:
    """Return the distribution as the products alone tell it.

    Args:
        own: What snapshots reached with products that are not theirs; None of one product alone.
        counts: int (P,), snapshots of each product.
        expected_mean: Mean of the draws before any are known.
    """
    count = len(counts)
    if own is None:
        return Strangers(LONE_MEAN, LONE_WIDTH, PRIOR_DRAWS)
    uncertainty = NOISE / count**NOISE_POWER
    mean, trust = _moved_mean(own.mean, expected_mean, uncertainty)
    few = 1.0 + SNAPSHOT_NOISE * float(np.mean(1.0 / counts))
    known = count - 1 if count > 2 else 0  # two products reach the same: no spread is seen
    spread = own.variance * count / (count - 1)
    expected = max(WIDTH + WIDTH_SLOPE * mean, LEAST_WIDTH) ** 2
    variance = (WIDTH_PRODUCTS * expected + known * spread) / (WIDTH_PRODUCTS + known)
    smooth = (KERNEL_PRODUCTS * KERNEL_WIDTH**2 + known * spread) / (KERNEL_PRODUCTS + known)
    width = float(np.sqrt(variance * (1.0 + trust * uncertainty * few)))
    drawn = replace(own, count=count - FEWER_DRAWS, kernel=KERNEL * float(np.sqrt(smooth * few)))
    return Strangers(mean, width, PRIOR_DRAWS, (drawn,))


def _moved_mean(seen: float, expected: float, uncertainty: float) -> tuple[float, float]:
    """Return the prior's mean, drawn to what was seen, and how far it was trusted, 0 to 1."""
    noise = uncertainty * 0.12**2
    trust = PRIOR_SPREAD**2 / (PRIOR_SPREAD**2 + noise)
    return trust * seen + (1.0 - trust) * expected, trust


def with_station(fitted: Strangers, reached: Floats) -> Strangers:
    """Add what the station's own frames say: they tell the prior, too.

    Args:
        fitted: The distribution without them.
        reached: float64 (M,), what they reached.
    """
    best = np.sort(reached)
    intruders = int((fitted.rate(best) <= INTRUDER_RATE).sum())
    best = best[: len(best) - min(intruders, int(MOST_INTRUDERS * len(best)))]
    draws = Draws(best, np.full(len(best), 1.0 / len(best)), min(len(best) / 2, STATION_DRAWS))
    width = max(float(np.sqrt(draws.variance)), LEAST_WIDTH)
    draws = replace(draws, kernel=KERNEL * width)
    return Strangers(draws.mean, width, PRIOR_DRAWS, (*fitted.draws, draws))


def _leave_one_out(snapshots: Sequence[Embeddings], prior: Embeddings, cohort: Cohort) -> Draws:
    """Return the best scores that snapshots reach with the other products, as a frame would."""
    count = len(snapshots)
    _, each = reached_with_others(snapshots, prior, cohort.impostors)
    reached = [scores.max(axis=1) for scores in each]
    more = ONE_MORE * (_largest_of(count) - _largest_of(count - 1))
    weights = np.concatenate([np.full(len(r), 1.0 / len(r)) for r in reached]) / len(reached)
    return Draws(np.concatenate(reached) + more, weights)


def reached_with_others(
    snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> tuple[NDArray[np.intp], list[Floats]]:
    """Return what products' snapshots reach with each of the other products, as frames would.

    Seen from a centre without the snapshots' own product. Of more than 64 products up to
    `MOST_DRAWS` are looked at, by their first and last snapshots: among so many one product more
    or less moves the centre by nothing, and a sample tells as much as all.

    Returns:
        Which products the snapshots are of, int (N,), and of each float64 (K, P): `-inf` with its
        own product.
    """
    count = len(snapshots)
    if count <= _EXACT_CENTRES:
        every = np.arange(count)
        return every, [_reached_exactly(int(own), snapshots, prior, impostors) for own in every]
    products = ProductScores(snapshots, prior)
    chosen = np.unique(np.linspace(0, count - 1, MOST_DRAWS).astype(int))
    centred = products.units(impostors)
    reached = []
    for own in chosen:
        rows = snapshots[own]
        units = products.units(rows if len(rows) < 3 else rows[[0, -1]])
        scores = FRAME_SHARE * products.of(units).astype(np.float64)
        scores[:, own] = -np.inf
        reached.append(scores - cohort_shift(units, centred)[:, None])
    return chosen, reached


def _reached_exactly(
    own: int, snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> Floats:
    others = ProductScores([*snapshots[:own], *snapshots[own + 1 :]], prior)
    units = others.units(snapshots[own])
    scores = FRAME_SHARE * others.of(units).astype(np.float64)
    shift = cohort_shift(units, others.units(impostors))
    reached: Floats = np.insert(scores - shift[:, None], own, -np.inf, axis=1)
    return reached


def _largest_of(count: int) -> float:
    """Return the expected largest of `count` standard normals (Blom 1958), 0 for one."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def student_tail(deviations: Floats) -> Floats:
    """Return how much of Student's distribution with 6 degrees of freedom lies above.

    In closed form (Abramowitz and Stegun 26.7.4).
    """
    sine = deviations / np.sqrt(6.0 + np.square(deviations))
    cosine = 1.0 - np.square(sine)
    tail: Floats = 0.5 * (1.0 - sine * (1.0 + cosine / 2.0 + 0.375 * np.square(cosine)))
    return tail


def normal_tail(deviations: Floats) -> Floats:
    """Return how much of the normal distribution lies above; exact to 1e-7.

    By Abramowitz and Stegun 26.2.17.
    """
    size = np.abs(deviations)
    k = 1.0 / (1.0 + 0.2316419 * size)
    series = k * (
        0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429)))
    )
    upper = np.exp(-0.5 * np.square(size)) / np.sqrt(2.0 * np.pi) * series
    tail: Floats = np.where(deviations >= 0, upper, 1.0 - upper)
    return tail

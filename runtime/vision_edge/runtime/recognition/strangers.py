"""How many strangers would score as high? What *unknown* is decided by.

What a stranger may reach is told by draws of it, none of which needs a stranger of one's own:

1. Each registered snapshot is a stranger to the *other* products, seen from a centre without its
   own. It is a single picture, as a stranger's will be; the mean of a product's snapshots is not.
2. Frames of the station that show no product are strangers indeed, where there are any.
3. What the station's camera saw without anybody saying what it was: a mixture of products and
   strangers, told apart by what is known of either (`station_mixture`).
4. Few draws say little, so they are held together by a prior: what the products' own pictures let
   expect, and what is expected where they tell nothing, each by how probable it is
   (`stranger_beliefs`), both drawn to the draws' mean. It counts
   for so many draws of its own: the rate is the predictive distribution of a Dirichlet process
   (Ferguson 1973, A Bayesian analysis of some nonparametric problems), with draws smoothed by a
   kernel. With many products the draws alone speak, whatever the shape of their distribution.

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
from vision_edge.runtime.recognition.snapshot_scores import (
    COHORT_NEAREST,
    OwnLikeness,
    own_likeness,
    reached_with_others,
)
from vision_edge.runtime.recognition.station_mixture import Told, told_by_frames
from vision_edge.runtime.recognition.stranger_beliefs import (
    LEAST_WIDTH,
    LONE_MEAN,
    LONE_SPREAD,
    LONE_TOLD,
    LONE_UNKNOWN,
    LONE_WIDTH,
    PRIOR_DRAWS,
    Explanation,
    Reached,
    by_own_pictures,
    expected_width,
    weighed,
)
from vision_edge.runtime.recognition.tails import Floats, normal_tail

ONE_MORE = 0.09
"""A stranger meets all P products, a snapshot the P - 1 others: it scores higher by this times the
difference of the expected largest of P and of P - 1 normals."""
ALL_NOISE, SNAPSHOT_NOISE = 0.35, 3.15
"""Variance of the draws' mean, in variances of it as `stranger_beliefs` has them: so much with any
number of snapshots, and a K-th of so much more with K."""
FEWER_DRAWS = 0.64
"""The draws of P products count for `P - FEWER_DRAWS`."""
KERNEL, KERNEL_WIDTH, KERNEL_PRODUCTS = 0.3, 0.1, 3.0
"""Width of the draws' kernel, in standard deviations of a draw; that standard deviation before any
products are known, and how many of them it counts for."""
STATION_DRAWS = 100.0
"""The frames of a station count for at most so many draws: neighbours in time are alike."""
INTRUDER_RATE, MOST_INTRUDERS = 0.002, 0.2
"""A frame so near to a product is one of it rather than a stranger, and is left out: of the
nearest, at most this share."""

FLOOD_POWER = 0.75
"""Frames nearest to one product count for this power of their number less each: a product that was
shown far more often than the others tells no more of strangers."""
LONE_WIDER = 1.4
"""Strangers' scores with one product are so much wider than the best of several."""
LEAST_UNKNOWN = 0.03
"""Standard deviation of strangers' mean that the station's frames may always correct."""


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
        seen: float32 (N, D), what the station's camera saw, products and strangers alike, as it
            collected them by itself; None if there are none.
    """

    embeddings: Embeddings
    from_station: bool
    photographs: bool = True
    seen: Embeddings | None = None

    @property
    def speaking(self) -> bool:
        """Whether it tells which scores strangers reach."""
        return self.from_station and len(self.embeddings) > COHORT_NEAREST

    @property
    def telling(self) -> bool:
        """Whether it tells of strangers without the products' help."""
        return self.speaking or (self.seen is not None and len(self.seen) > COHORT_NEAREST)

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


@dataclass(frozen=True)
class Seen:
    """What a station's camera saw, compared with the products.

    Attributes:
        scores: float64 (N, P), of each frame with each product.
        weights: float64 (N,), how much each frame tells.
        own: float64 (K,), what snapshots reach with the others of their own product.
    """

    scores: Floats
    weights: Floats
    own: Floats

    @classmethod
    def of(
        cls,
        products: ProductScores,
        likeness: OwnLikeness,
        frames: Embeddings | None,
    ) -> Seen | None:
        """Compare float32 (N, D) frames, not centred, with products; None where there are none."""
        if frames is None or not len(frames):
            return None
        scores = products.of(products.units(frames)).astype(np.float64)
        nearest = scores.argmax(axis=1)
        weights = 1.0 / np.bincount(nearest)[nearest] ** FLOOD_POWER
        return cls(scores, weights, likeness.scores)

    def of_some(self, frames: NDArray[np.bool_]) -> Seen:
        """Return the same of some frames, bool (N,)."""
        return replace(self, scores=self.scores[frames], weights=self.weights[frames])


@dataclass(frozen=True)
class Strangers:
    """The distribution of the best score that a stranger reaches.

    Attributes:
        mean: Of the prior, as the products moved it.
        width: Its standard deviation, what is not known of the mean included.
        prior_draws: How many draws the prior counts for.
        draws: By where they come from.
        told: What the frames that a station saw say of the mean and the width, in place of these.
        unknown: Standard deviation of what is not known of the mean.
        explanations: What the prior is a mixture of; Student's distribution if there are none.
    """

    mean: float
    width: float
    prior_draws: float
    draws: tuple[Draws, ...] = ()
    told: Told | None = None
    unknown: float = 0.0
    explanations: tuple[Explanation, ...] = ()

    @classmethod
    def explained(
        cls, explanations: tuple[Explanation, ...], count: float, *draws: Draws
    ) -> Strangers:
        """Return the mixture of explanations, which counts for so many draws, beside draws."""
        shares, means, widths, unknown = np.array(
            [(one.share, one.mean, one.width, one.unknown) for one in explanations]
        ).T
        mean = float(shares @ means)
        apart = np.square(means - mean)
        width, not_known = (float(np.sqrt(shares @ (x**2 + apart))) for x in (widths, unknown))
        return cls(mean, width, count, draws, unknown=not_known, explanations=explanations)

    def rate(self, scores: Floats) -> Floats:
        """Return the share of strangers that would score at least as high.

        Args:
            scores: float64 (N,), normalised scores.

        Returns:
            float64 (N,), from 0 to 1.
        """
        total = self.prior_draws * (
            self._believed(scores) if self.told is None else self.told.tail(scores)
        )
        count = self.prior_draws
        for draws in self.draws:
            tails = normal_tail((scores[:, None] - draws.scores) / draws.kernel)
            total = total + draws.count * (tails @ draws.weights)
            count += draws.count
        rates: Floats = np.clip(total / count, 0.0, 1.0)
        return rates

    def _believed(self, scores: Floats) -> Floats:
        """Return the share of strangers above scores, as the prior has it."""
        explanations = self.explanations or (
            Explanation(1.0, self.mean, self.width, self.unknown, light=0.0),
        )
        share: Floats = np.sum([one.tail(scores) for one in explanations], axis=0)
        return share


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
    if len(snapshots) > 1 and not (cohort_alone and cohort.telling):
        own = _leave_one_out(snapshots, prior, cohort)
    likeness = own_likeness(products, snapshots, cohort.impostors)
    rivals = ONE_MORE * _largest_of(len(snapshots))
    fitted = told_by(own, products.counts, likeness, rivals)
    if cohort.speaking:
        reached = products.of(products.units(cohort.embeddings)).max(axis=1)
        fitted = with_station(fitted, reached.astype(np.float64))
    if (seen := Seen.of(products, likeness, cohort.seen)) is None:
        return fitted
    return with_seen(fitted, seen, seen.scores.max(axis=1), lone=len(snapshots) == 1)


def told_by(
    reached: Draws | None, counts: NDArray[np.intp], own: OwnLikeness, rivals: float = 0.0
) -> Strangers:
    """Return the distribution as the products alone tell it.

    Args:
        reached: What snapshots reached with products that are not theirs; None of one product.
        counts: int (P,), snapshots of each product.
        own: How alike pictures of one product are.
        rivals: How much higher strangers score because they meet several products.
    """
    if reached is None:
        return _lone(own)
    count = len(counts)
    among = Reached(reached.mean, reached.variance * count / (count - 1), count)
    belief = weighed(own, among, rivals)
    few = ALL_NOISE + SNAPSHOT_NOISE * float(np.mean(1.0 / counts))
    spread = among.known * among.variance
    smooth = (KERNEL_PRODUCTS * KERNEL_WIDTH**2 + spread) / (KERNEL_PRODUCTS + among.known)
    kernel = KERNEL * float(np.sqrt(smooth * few))
    drawn = replace(reached, count=count - FEWER_DRAWS, kernel=kernel)
    return Strangers.explained(belief.explains(among, few), belief.draws, drawn)


def _lone(own: OwnLikeness) -> Strangers:
    """Return the distribution for one product, which has no other: by its own pictures, if any."""
    if not own.products:
        return Strangers(LONE_MEAN, LONE_WIDTH, PRIOR_DRAWS, unknown=LONE_UNKNOWN)
    belief = by_own_pictures(own)
    alone = Explanation(1.0, belief.mean, LONE_SPREAD, LONE_TOLD, belief.light)
    return Strangers.explained((alone,), belief.draws)


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


def with_seen(fitted: Strangers, seen: Seen, reached: Floats, *, lone: bool) -> Strangers:
    """Let what the station's camera saw move the prior: it counts for some of its frames.

    Args:
        fitted: The distribution without it.
        seen: What it saw.
        reached: float64 (N,), what those frames reached.
        lone: Whether that is what they reached with one product, and not with the best of several.
    """
    if not len(reached):
        return fitted
    width = expected_width(fitted.mean) * (LONE_WIDER if lone else 1.0)
    unknown = max(fitted.unknown, LEAST_UNKNOWN)
    told = told_by_frames(reached, fitted.mean, unknown, width, seen.own, seen.weights)
    return replace(fitted, prior_draws=fitted.prior_draws + told.count, told=told)


def _leave_one_out(snapshots: Sequence[Embeddings], prior: Embeddings, cohort: Cohort) -> Draws:
    """Return the best scores that snapshots reach with the other products, as a frame would."""
    count = len(snapshots)
    _, each = reached_with_others(snapshots, prior, cohort.impostors)
    reached = [scores.max(axis=1) for scores in each]
    more = ONE_MORE * (_largest_of(count) - _largest_of(count - 1))
    weights = np.concatenate([np.full(len(r), 1.0 / len(r)) for r in reached]) / len(reached)
    return Draws(np.concatenate(reached) + more, weights)


def _largest_of(count: int) -> float:
    """Return the expected largest of `count` standard normals (Blom 1958), 0 for one."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0

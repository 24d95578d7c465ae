"""What is believed of strangers before any has come: by the products alone.

Two things of a domain go together: how alike pictures of one product are, and what strangers reach.
Where products have two snapshots the first can be seen, and tells the second far better than the
few likenesses between products do: of two products strangers' mean is known to 0.06 instead of 0.3.
But a domain may be otherwise (rigid parts, all alike among themselves and unlike any other), so
both explanations are weighed by what the products' snapshots reached with one another: by Bayes'
rule, that the domain lies on the line and that nothing is known of it. What strangers reach is the
mixture of what they reach by either: an average of the two would have neither's tails, and a small
rate is asked of the tails.

Constants were chosen on train and val splits (grocery, mini_imagenet, narrow parts of them, both
with the scatter of a product's pictures made 0.6 to 1.3 times as large; plain and meta-LoRA), for 1
to 16 products of 1, 3 and 5 snapshots: docs/explanation/scoring.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vision_edge.runtime.recognition.snapshot_scores import OwnLikeness
from vision_edge.runtime.recognition.tails import Floats, normal_tail, student_tail

PRIOR_MEAN, PRIOR_SPREAD = 0.39, 0.295
"""What strangers reach with one product, before any others are known, and how domains differ."""
PRIOR_DRAWS, PRIOR_PRODUCTS = 3.15, 1.28
"""How many draws that counts for, and how many products' what is expected of strangers' width."""
OWN_OFFSET, OWN_SLOPE = -0.07, 0.81
"""Strangers' mean is `OWN_OFFSET + OWN_SLOPE * m` where pictures reach m with their own product."""
OWN_SPREAD, OWN_NOISE = 0.005, 0.05
"""How far domains that lie on that line are from it (those farther off are for the explanation
that knows nothing), and a single product from its domain's."""
OWN_DRAWS, OWN_PRODUCTS = 11.0, 11.0
"""What the line counts for: so much that few products do not move it, and many do."""
OWN_WIDER = 1.2
"""Of domains on the line strangers' scores are so many times as wide as their mean tells."""
OWN_LIGHT = 0.65
"""Who is known better has lighter tails: by this share the normal distribution's."""
ON_THE_LINE, SHARPNESS = 1.0, 1.6
"""The logarithm of the odds that a domain lies on the line, and how often what is seen counts
for or against them."""
EVIDENCE, EVIDENCE_PRODUCTS = 2.0, 1.5
"""Variance of the mean of what P products' snapshots reach, in variances of a draw, times P - 1;
and for how many products the expected variance counts beside the draws' own."""
NOISE, NOISE_POWER = 2.44, 0.78
"""Variance of that mean where it is to tell strangers', likewise: `NOISE / P ** NOISE_POWER`."""
WIDTH, WIDTH_SLOPE, LEAST_WIDTH, USUAL_WIDTH = 0.031, 0.118, 0.04, 0.12
"""Strangers' standard deviation grows with their mean: `WIDTH + WIDTH_SLOPE * mean`; and what it is
where nothing is known of that."""
LONE_MEAN, LONE_WIDTH, LONE_UNKNOWN = 0.36, 0.16, 0.12
"""Strangers' scores with one product of one snapshot, which says nothing of its domain: rather too
strict; and what of the width is not known of the mean."""
LONE_SPREAD, LONE_TOLD = 0.09, 0.065
"""Of what strangers reach with one product whose own pictures tell the mean; and what is not known
of that mean, which a station's frames correct."""


@dataclass(frozen=True)
class Reached:
    """What snapshots reach with the products that are not theirs.

    Attributes:
        mean: Of all.
        variance: Of a draw, between products.
        products: P, how many there are, at least 2.
    """

    mean: float
    variance: float
    products: int

    @property
    def known(self) -> int:
        """How many products tell the variance: two reach the same, which tells none."""
        return self.products - 1 if self.products > 2 else 0


@dataclass(frozen=True)
class Explanation:
    """What strangers reach if one explanation of a domain holds.

    Attributes:
        share: The probability of that.
        mean: Strangers' mean.
        width: Standard deviation of their scores, what is not known of the mean included.
        unknown: Standard deviation of what is not known of the mean.
        light: Which share of strangers is distributed normally, the others as Student has it.
    """

    share: float
    mean: float
    width: float
    unknown: float
    light: float

    def tail(self, scores: Floats) -> Floats:
        """Return which share of all strangers is so explained and above scores, float64 (N,)."""
        deviations = (scores - self.mean) / self.width
        heavy = (1.0 - self.light) * student_tail(deviations)
        above: Floats = self.share * (heavy + self.light * normal_tail(deviations))
        return above


@dataclass(frozen=True)
class Belief:
    """What strangers are believed to reach.

    Attributes:
        mean: Their mean.
        spread: Standard deviation of what is not known of it.
        draws: How many draws it counts for.
        products: How many products' spread the expected width counts for.
        light: Which share of strangers is distributed normally, the others as Student has it.
        wider: How many times as wide as their mean tells they are expected to be.
    """

    mean: float
    spread: float
    draws: float
    products: float
    light: float = 0.0
    wider: float = 1.0

    def moved(self, reached: Reached) -> tuple[float, float]:
        """Return the mean, drawn to what the products' snapshots reached with one another.

        Returns:
            The mean, and the variance of what is not known of it, in variances of a score.
        """
        noise = NOISE / reached.products**NOISE_POWER
        trust = self.spread**2 / (self.spread**2 + noise * USUAL_WIDTH**2)
        return trust * reached.mean + (1.0 - trust) * self.mean, trust * noise

    def explains(self, reached: Reached, few: float, share: float) -> Explanation:
        """Return what strangers reach where it holds.

        Args:
            reached: What the products' snapshots reached with one another.
            few: Variance of that mean, by how few snapshots tell it, in variances of it.
            share: How probable it is.
        """
        mean, unknown = self.moved(reached)
        expected = self.products * (self.wider * expected_width(mean)) ** 2
        variance = (expected + reached.known * reached.variance) / (self.products + reached.known)
        not_known = variance * unknown * few
        width = math.sqrt(variance + not_known)
        return Explanation(share, mean, width, math.sqrt(not_known), self.light)

    def fit(self, reached: float, noise: float) -> float:
        """Return the logarithm of its likelihood for a mean that is known to a variance."""
        variance = self.spread**2 + noise
        return -0.5 * ((reached - self.mean) ** 2 / variance + math.log(variance))


@dataclass(frozen=True)
class Weighed:
    """What is believed where two explanations are possible.

    Attributes:
        line: The products' own pictures tell what strangers reach.
        flat: They do not.
        share: The probability of the line.
    """

    line: Belief
    flat: Belief
    share: float

    @property
    def draws(self) -> float:
        """How many draws it counts for."""
        return self.share * self.line.draws + (1.0 - self.share) * self.flat.draws

    @property
    def mean(self) -> float:
        """Strangers' mean, as expected."""
        return self.share * self.line.mean + (1.0 - self.share) * self.flat.mean

    @property
    def spread(self) -> float:
        """Standard deviation of what is not known of it."""
        apart = self.share * (1.0 - self.share) * (self.line.mean - self.flat.mean) ** 2
        within = self.share * self.line.spread**2 + (1.0 - self.share) * self.flat.spread**2
        return math.sqrt(within + apart)

    def explains(self, reached: Reached, few: float) -> tuple[Explanation, ...]:
        """Return both explanations, moved by what the products' snapshots reached."""
        return (
            self.line.explains(reached, few, self.share),
            self.flat.explains(reached, few, 1.0 - self.share),
        )


def expected_width(mean: float) -> float:
    """Return strangers' standard deviation as their mean tells it."""
    return max(WIDTH + WIDTH_SLOPE * mean, LEAST_WIDTH)


def nothing_known(rivals: float) -> Belief:
    """Return what is believed while each product has but one snapshot.

    Args:
        rivals: How much higher strangers score because they meet several products.
    """
    return Belief(PRIOR_MEAN + rivals, PRIOR_SPREAD, PRIOR_DRAWS, PRIOR_PRODUCTS)


def by_own_pictures(own: OwnLikeness) -> Belief:
    """Return what the likeness of each product's pictures lets expect; it must tell something."""
    spread = math.hypot(OWN_SPREAD, OWN_NOISE / math.sqrt(own.products))
    mean = OWN_OFFSET + OWN_SLOPE * own.mean - own.shift
    return Belief(mean, spread, OWN_DRAWS, OWN_PRODUCTS, OWN_LIGHT, OWN_WIDER)


def weighed(own: OwnLikeness, reached: Reached, rivals: float) -> Weighed:
    """Return what is believed, by how well either explains what the products reach.

    Args:
        own: How alike pictures of one product are.
        reached: What snapshots reach with the other products.
        rivals: How much higher strangers score because they meet several products.
    """
    flat = nothing_known(rivals)
    if not own.products:
        return Weighed(flat, flat, 0.0)
    line = by_own_pictures(own)
    expected = EVIDENCE_PRODUCTS * expected_width(line.mean) ** 2
    drawn = (expected + reached.known * reached.variance) / (EVIDENCE_PRODUCTS + reached.known)
    noise = EVIDENCE * drawn / (reached.products - 1)
    better = line.fit(reached.mean, noise) - flat.fit(reached.mean, noise)
    odds = ON_THE_LINE + SHARPNESS * better
    told = min(own.products / reached.products, 1.0) ** 3
    share = told / (1.0 + math.exp(-min(max(odds, -50.0), 50.0)))
    return Weighed(line, flat, share)

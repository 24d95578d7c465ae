"""Is it this one? A picture judged against one expected product alone, with a rate of its own.

To identify is to ask which of P products it is; to verify is to ask whether it is the one that
should be there. A wrong part then has one product to be taken for instead of P, so that more right
parts pass at the same rate of wrong ones. What wrong parts reach is told as what strangers reach is
(`strangers.py`), but by the expected product alone:

1. Each snapshot of another product is a wrong part, seen from a centre without its own product:
   what it reaches with the expected product is a draw.
2. What snapshots reach with any one product that is not theirs, over all pairs, tells the prior's
   mean and width, and counts for P - 2 draws beside the expected product's own P - 1: those say
   little of one product, P (P - 1) pairs say much of the domain.
3. Frames of the station that show no product are draws, too.
4. What the station's camera saw is told apart into parts of the expected product and wrong parts,
   by what each frame reaches with that product. Frames that plainly show another product are left
   out: those are not called right anyhow, and would hide how near the strangers come.

Beside the rate stands what needs none: a part that is nearer to another product is not called
right, and one whose nearest product is another and *known* is called wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.product_scores import ProductScores
from vision_edge.runtime.recognition.snapshot_scores import own_likeness, reached_with_others
from vision_edge.runtime.recognition.strangers import (
    Cohort,
    Draws,
    Seen,
    Strangers,
    told_by,
    with_seen,
    with_station,
)
from vision_edge.runtime.recognition.tails import Floats

Answer = Literal["right", "wrong", "unsure"]
Reason = Literal["", "far", "between", "other", "twice", "negative", "not-registered"]
Holders = Literal["none", "expected", "another", "both"]

FEWEST = 2
"""Products of which the pairs tell nothing but what the draws do."""
MOST_PAIRS = 512
"""So many pairs are asked for every frame; of more as many quantiles."""
PLAINLY_OTHER = 0.25
"""A frame nearest to another product, to which at most this share of strangers would be as near,
shows that. With all frames 16 to 18 percent of strangers passed for 5 with two and three look-alike
products of one snapshot, with those left out 12 (train splits, of 64 frames half of products)."""
SURELY_WRONG = 0.5
"""A part that half of all wrong parts would be as near as is wrong, and not only unsure. So 0 to 7
percent of right parts are called wrong with one snapshot, 0 to 2 with three, from three products
on; at 0.25 twice as many, and of wrong parts a quarter more (train and val splits)."""


@dataclass(frozen=True)
class Verification:
    """Whether a picture shows the product that is expected.

    Attributes:
        expected: The product that should be there.
        answer: `"right"`, `"wrong"` or `"unsure"`.
        reason: Why it is not right, in a word: `"far"` from the expected product; `"between"` right
            and far; another product is nearer (`"other"`), or holds the very same picture
            (`"twice"`); a person said of such pictures that they are not it (`"negative"`); the
            product is `"not-registered"`, so that nothing can be said. Empty where it is right.
        score: Likeness to the expected product, from -1 to 1; None if it is not registered.
        wrong_rate: Estimated share of wrong parts, strangers or other products, that would be as
            near to it, from 0 to 1; None if it is not registered, or with a fixed threshold.
    """

    expected: str
    answer: Answer
    reason: Reason = ""
    score: float | None = None
    wrong_rate: float | None = None

    def document(self) -> dict[str, object]:
        """Return it as JSON values, by field."""
        return {
            "expected": self.expected,
            "answer": self.answer,
            "reason": self.reason,
            "score": None if self.score is None else round(self.score, 6),
            "wrong_rate": None if self.wrong_rate is None else round(self.wrong_rate, 6),
        }


@dataclass(frozen=True)
class Compared:
    """How one picture compares with the expected product, and with the others.

    Attributes:
        score: Likeness to the expected product.
        wrong_rate: Share of wrong parts that would be as near to it; None with a fixed threshold.
        nearest: Whether it is the nearest product.
        known: Whether the nearest product is recognised.
        stranger_rate: Share of strangers that would be as near to any product.
        rejected: Whether a picture that is not it (a negative) is nearer.
        holders: Whether it is a registered picture, and whose.
    """

    score: float
    wrong_rate: float | None
    nearest: bool
    known: bool
    stranger_rate: float | None = None
    rejected: bool = False
    holders: Holders = "none"


def verified(
    expected: str, compared: Compared, asked: float, threshold: float | None = None
) -> Verification:
    """Return whether a picture shows the expected product.

    Args:
        expected: The product.
        compared: How the picture compares.
        asked: Share of wrong parts that may be called right, in (0, 1).
        threshold: A fixed score from which on it is right, instead.
    """
    score, rate = compared.score, compared.wrong_rate
    if compared.rejected:
        return Verification(expected, "wrong", "negative", -1.0, None if rate is None else 1.0)
    if rate is not None and compared.nearest and compared.stranger_rate is not None:
        rate = min(rate, compared.stranger_rate)  # who is so near to it is so near to any
    if compared.holders == "both":
        return Verification(expected, "unsure", "twice", score, rate)
    if compared.holders == "another":
        return Verification(expected, "wrong", "other", score, rate)
    if compared.holders == "expected" and threshold is None:
        return Verification(expected, "right", "", score, 0.0)
    passes = score >= threshold if threshold is not None else rate is not None and rate <= asked
    far = not passes if rate is None else rate > max(SURELY_WRONG, asked)
    if compared.nearest:
        if passes:
            return Verification(expected, "right", "", score, rate)
        return Verification(expected, *_far(far), score, rate)
    plausible = passes and rate is not None  # near to it as well
    sure = not plausible and (far or compared.known)
    return Verification(expected, "wrong" if sure else "unsure", "other", score, rate)


def _far(far: bool) -> tuple[Answer, Reason]:
    return ("wrong", "far") if far else ("unsure", "between")


def not_registered(expected: str) -> Verification:
    """Return what is said of everything while the expected product is not registered."""
    return Verification(expected, "unsure", "not-registered")


class WrongParts:
    """What wrong parts reach with a product: fitted once, asked for one product at a time.

    Args:
        snapshots: Of each of P products its snapshots, float32 (K, D), K at least 1.
        prior: float32 (D,), the bundle's centre.
        cohort: Images that show none of the products, not centred.
        cohort_alone: Whether only a cohort from the station says what wrong parts reach, if there
            is enough of one.
        strangers: What strangers reach with any product: tells which frames show another.
    """

    def __init__(
        self,
        snapshots: Sequence[Embeddings],
        prior: Embeddings,
        cohort: Cohort,
        strangers: Strangers,
        *,
        cohort_alone: bool = False,
    ) -> None:
        products = ProductScores(snapshots, prior)
        self._frames: Floats | None = None
        if cohort.speaking:
            self._frames = products.of(products.units(cohort.embeddings)).astype(np.float64)
        likeness = own_likeness(products, snapshots, cohort.impostors)
        self._seen = Seen.of(products, likeness, cohort.seen)
        if self._seen is not None:
            best = self._seen.scores.max(axis=1)
            self._plain = strangers.rate(best) <= PLAINLY_OTHER
        self._others: NDArray[np.intp] = np.zeros(0, np.intp)
        self._reached: list[Floats] = []
        pairs = None
        if len(snapshots) > 1 and not (cohort_alone and cohort.telling):
            self._others, self._reached = reached_with_others(snapshots, prior, cohort.impostors)
            pairs = _drawn([scores[np.isfinite(scores)] for scores in self._reached])
        self._counts = products.counts
        self._fitted = told_by(pairs, products.counts, likeness)
        if pairs is not None:
            (told,) = self._fitted.draws
            self._fitted = replace(self._fitted, draws=(_thinned(told),))

    def of(self, column: int) -> Strangers:
        """Return the distribution of what a wrong part reaches with the product `column`."""
        fitted = self._fitted
        if fitted.draws:
            (pairs,) = fitted.draws
            others = zip(self._others, self._reached, strict=True)
            own = _drawn([scores[:, column] for other, scores in others if other != column])
            own = replace(own, count=pairs.count, kernel=pairs.kernel)
            more = replace(pairs, count=max(len(self._counts) - FEWEST, 0.0))
            fitted = replace(fitted, draws=(own, more))
        if self._frames is not None:
            fitted = with_station(fitted, self._frames[:, column])
        if self._seen is None:
            return fitted
        other = self._plain & (self._seen.scores.argmax(axis=1) != column)
        seen = self._seen.of_some(~other)
        return with_seen(fitted, seen, seen.scores[:, column], lone=True)


def _thinned(draws: Draws) -> Draws:
    """Return draws of the same distribution that are few enough to be asked for every frame."""
    if len(draws.scores) <= MOST_PAIRS:
        return draws
    order = draws.scores.argsort()
    below = np.cumsum(draws.weights[order])
    wanted = (np.arange(MOST_PAIRS) + 0.5) / MOST_PAIRS
    kept = draws.scores[order[np.searchsorted(below, wanted).clip(max=len(order) - 1)]]
    return replace(draws, scores=kept, weights=np.full(MOST_PAIRS, 1.0 / MOST_PAIRS))


def _drawn(reached: Sequence[Floats]) -> Draws:
    """Return draws in which each product counts the same, however many snapshots it has."""
    weights = np.concatenate([np.full(len(r), 1.0 / len(r)) for r in reached]) / len(reached)
    return Draws(np.concatenate(reached), weights)

"""Nearest-prototype classification: the scoring that toolkit and edge share.

A prototype is a product's mean support embedding (Snell et al. 2017, Prototypical Networks,
eq. 1). Embeddings are centred before they are compared by cosine (the "CL2N" of Wang et al. 2019,
SimpleShot): a common offset of all images of one domain says nothing about their differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings, Patches
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.recognition.negatives import REJECTED, Negatives, Rejects
from vision_edge.runtime.recognition.product_scores import (
    ProductScores,
    Scores,
)
from vision_edge.runtime.recognition.snapshot_scores import cohort_shift
from vision_edge.runtime.recognition.strangers import Cohort, Strangers, fit_strangers
from vision_edge.runtime.recognition.verification import (
    Compared,
    Holders,
    Verification,
    WrongParts,
    not_registered,
    verified,
)

Band = Literal["accept", "review", "unknown"]
MIN_RATE = 1e-6
REVIEW_FACTOR, MAX_REVIEW_RATE = 5.0, 0.5
"""A person looks at what so many times the asked share of strangers would reach."""
SAME_PICTURE = 0.9
"""A frame this near to a snapshot is the very picture; a snapshot is the mean of its crops, so a
registered picture's own frame is not at 1. Export measures the bundle's own figure."""

Floats = NDArray[np.float64]
_RIVALS = 8


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
        score: Likeness to the nearest product, from -1 to 1: a centred cosine with one snapshot,
            and as comparable with more (`ProductScores`).
        margin: That score minus the runner-up's, from 0 to 2 (with patches: of what they were
            ranked by); None with one product.
        known: Whether the answer is a product.
        review: Whether it is unknown, but near enough to be worth a person's look.
        stranger_rate: Estimated share of strangers that would be as near, from 0 to 1; None with a
            fixed threshold, which says nothing of strangers.
        verification: Whether it is the product that is expected; None where none is.
    """

    label: str | None
    nearest: str
    score: float
    margin: float | None
    known: bool
    review: bool = False
    stranger_rate: float | None = None
    verification: Verification | None = None

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
class _Looked:
    """How N queries compare with P products.

    Attributes:
        queries: float32 (N, D), unit directions.
        scores: float32 (N, P).
        ranked: float32 (N, P), what products are ranked by.
        best: int (N,), the nearest product of each.
        same: bool (N,), whether it is a registered picture.
    """

    queries: Embeddings
    scores: Scores
    ranked: Scores
    best: NDArray[np.intp]
    same: NDArray[np.bool_]


class PrototypeClassifier:
    """Classifies embeddings by their nearest prototype, or as unknown.

    Args:
        labels: The products' names, P of them.
        prototypes: float32 (P, D), each product's one snapshot; or, for products of several, of
            each its snapshots, float32 (K, D).
        prior: float32 (D,), the bundle's centre.
        cohort: Images that are none of the products.
        false_accept_rate: Share of strangers that may be taken for a product, in (0, 1).
        threshold: A fixed threshold on the score instead of one from the false-accept rate.
        negatives: What an operator said is not a product: whoever is nearer to it than to the
            product is not that product.
        ranking: Ranks the nearest products anew by their patches.
        cohort_alone: Whether products do not tell what strangers reach, a cohort from the station
            alone does: pictures of a catalogue are more alike, and more unlike, than a camera's.
        same_picture: Cosine to a snapshot from which on a frame is that very picture.

    Raises:
        VisionEdgeError: If there are no products, or shapes or rates do not fit.
    """

    def __init__(
        self,
        labels: Sequence[str],
        prototypes: Embeddings | Sequence[Embeddings],
        prior: Embeddings,
        cohort: Cohort,
        *,
        false_accept_rate: float = 0.05,
        threshold: float | None = None,
        negatives: Negatives | None = None,
        ranking: Ranking | None = None,
        cohort_alone: bool = False,
        same_picture: float = SAME_PICTURE,
    ) -> None:
        snapshots = checked_products(labels, prototypes, prior, false_accept_rate)
        if threshold is not None and not np.isfinite(threshold):
            raise VisionEdgeError(
                f"a threshold on the score must be a number; got {threshold}",
                fix="leave it out to have one from the false-accept rate",
            )
        self.labels = tuple(labels)
        self.threshold = threshold
        self.false_accept_rate = false_accept_rate
        self.review_rate = min(MAX_REVIEW_RATE, REVIEW_FACTOR * false_accept_rate)
        self._products = ProductScores(snapshots, prior)
        self._same_picture = same_picture
        self._cohort = self._products.units(cohort.impostors)
        self._strangers = fit_strangers(snapshots, prior, cohort, cohort_alone=cohort_alone)
        self._fit_wrong_parts = partial(
            WrongParts, snapshots, prior, cohort, self._strangers, cohort_alone=cohort_alone
        )
        self._wrong_parts: WrongParts | None = None  # fitted when a product is first expected
        self._expected: dict[int, Strangers] = {}
        self._ranking = ranking
        self._rejects = Rejects(self.labels, self.centre, negatives) if negatives else None

    @property
    def centre(self) -> Embeddings:
        """float32 (D,): the point from which directions are compared."""
        return self._products.centre

    def scores(self, embeddings: Embeddings) -> Scores:
        """Return the score of float32 (N, D) embeddings for each product: float32 (N, P)."""
        return self._products.of(self._products.units(embeddings))

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
        return self._decisions(self._looked(embeddings, patches))

    def verify(
        self,
        expected: str,
        embeddings: Embeddings,
        patches: Sequence[Patches | None] | None = None,
    ) -> list[Decision]:
        """Decide as `classify` does, and say of each whether it is the product `expected`."""
        looked = self._looked(embeddings, patches)
        decisions = self._decisions(looked)
        if expected not in self.labels:
            return [replace(one, verification=not_registered(expected)) for one in decisions]
        column = self.labels.index(expected)
        rates = None if self.threshold is not None else self._wrong_rates(looked, column)
        return [
            replace(decision, verification=self._verified(looked, row, column, decision, rates))
            for row, decision in enumerate(decisions)
        ]

    def _wrong_rates(self, looked: _Looked, column: int) -> Floats:
        """Return the share of wrong parts that would be as near to the product of a column."""
        wrong = self._expected.get(column)
        if wrong is None:
            if self._wrong_parts is None:
                self._wrong_parts = self._fit_wrong_parts()
            wrong = self._expected[column] = self._wrong_parts.of(column)
        return wrong.rate(looked.scores[:, column] - cohort_shift(looked.queries, self._cohort))

    def _verified(
        self, looked: _Looked, row: int, column: int, decision: Decision, rates: Floats | None
    ) -> Verification:
        compared = Compared(
            float(looked.scores[row, column]),
            None if rates is None else float(rates[row]),
            nearest=int(looked.best[row]) == column,
            known=decision.known,
            stranger_rate=decision.stranger_rate,
            rejected=bool(looked.scores[row, column] <= REJECTED),
            holders=self._holders(looked, row, column),
        )
        return verified(self.labels[column], compared, self.false_accept_rate, self.threshold)

    def _holders(self, looked: _Looked, row: int, column: int) -> Holders:
        """Return which products hold the very picture that one query is."""
        if not looked.same[row]:
            return "none"
        rivals = looked.scores[row].argsort()[::-1][:_RIVALS]
        likeness = self._products.likeness(looked.queries[row], np.array([column, *rivals]))
        held = likeness >= self._same_picture
        other = bool(held[1:][rivals != column].any())
        if not held[0]:
            return "another"
        return "both" if other else "expected"

    def _looked(self, embeddings: Embeddings, patches: Sequence[Patches | None] | None) -> _Looked:
        """Compare float32 (N, D) embeddings with every product."""
        queries = self._products.units(embeddings)
        scores = self._products.of(queries)
        if self._rejects is not None:
            scores = self._rejects.apply(queries, scores)
        ranked = scores
        if self._ranking is not None and patches is not None:
            ranked = self._ranking.preferences(scores, patches)
        best, same = self._preferred(queries, scores, ranked)
        return _Looked(queries, scores, ranked, best, same)

    def _decisions(self, looked: _Looked) -> list[Decision]:
        rows = np.arange(len(looked.scores))
        best = looked.best
        top = looked.scores[rows, best]
        margins = self._margins(looked.ranked, best) if len(self.labels) > 1 else None
        rates = None
        if self.threshold is None:
            rates = np.where(looked.same, 0.0, self._rates(looked.queries, top))
        return [
            self._decide(
                int(best[n]),
                float(top[n]),
                None if margins is None else float(margins[n]),
                None if rates is None else float(rates[n]),
            )
            for n in rows
        ]

    def _preferred(
        self, queries: Embeddings, scores: Scores, ranked: Scores
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the nearest product of each query, and whether it is a registered picture."""
        best = ranked.argmax(axis=1)
        holders, likeness = self._products.nearest_snapshot(queries, best)
        allowed = scores[np.arange(len(scores)), holders] > REJECTED
        same = (likeness >= self._same_picture) & allowed
        for row in np.flatnonzero(same & (ranked is not scores)):  # patches decide between equals
            (own,) = self._products.likeness(queries[row], best[row : row + 1])
            holders[row] = best[row] if own >= self._same_picture else holders[row]
        return np.where(same, holders, best), same

    @staticmethod
    def _margins(scores: Scores, best: NDArray[np.intp]) -> Scores:
        """Return the lead of the nearest product over the best of the others, at least 0."""
        others = scores.copy()
        rows = np.arange(len(scores))
        others[rows, best] = -np.inf
        lead: Scores = np.maximum(scores[rows, best] - others.max(axis=1), 0.0)
        return lead

    def rates_for(self, embeddings: Embeddings, label: str) -> Floats:
        """Return the share of strangers that would be as near to one product: float64 (N,)."""
        queries = self._products.units(embeddings)
        return self._rates(queries, self._products.of(queries)[:, self.labels.index(label)])

    def _rates(self, queries: Embeddings, top: Scores) -> Floats:
        """Return the share of strangers that would be as near."""
        return self._strangers.rate(top - cohort_shift(queries, self._cohort))

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


def checked_products(
    labels: Sequence[str],
    prototypes: Embeddings | Sequence[Embeddings],
    prior: Embeddings,
    rate: float,
) -> list[Embeddings]:
    """Return each product's snapshots, float32 (K, D)."""
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
    dim = prior.shape[-1]
    if isinstance(prototypes, np.ndarray):
        if prototypes.shape != (len(labels), dim):
            raise VisionEdgeError(
                f"{len(labels)} labels need prototypes ({len(labels)}, {dim}); "
                f"got {prototypes.shape}"
            )
        return list(prototypes[:, None])
    shapes = [rows.shape for rows in prototypes]
    if len(shapes) != len(labels) or any(len(s) != 2 or s[0] < 1 or s[1] != dim for s in shapes):
        raise VisionEdgeError(
            f"{len(labels)} labels need as many arrays of snapshots (K, {dim}); got {shapes[:5]}"
        )
    return list(prototypes)

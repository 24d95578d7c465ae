"""How good is a gallery? Told by its own snapshots, each of them left out once.

A snapshot that is left out is as good as a new picture of its product. Where it lands says which
products will be taken for one another, which snapshot is odd or bears a wrong label, and what share
of parts will be named. With K snapshots a product, those that are left out are judged by K - 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.product_scores import ProductScores, cosines
from vision_edge.runtime.recognition.prototypes import SAME_PICTURE, checked_products
from vision_edge.runtime.recognition.snapshot_scores import (
    EXACT_CENTRES,
    FRAME_SHARE,
    ONE_MORE_SNAPSHOT,
    cohort_shift,
)
from vision_edge.runtime.recognition.strangers import Cohort, fit_strangers

WRONG_LEAD, COMPANY_SHARE = 0.07, 0.3
"""A snapshot bears a wrong label when the others of its product are more alike without it, and
another product is nearer by so much: to that lead counts, by this share, how much more alike."""
LEAST_JUDGED = 3
"""So many snapshots of a product tell which of them is odd; of fewer either may be."""
ODD_SHARE, ODD_LEAST = 0.5, 0.2
"""A snapshot is odd when it is but half as near to its product as the middle one of it, and by this
much at least."""
MOST_CHECKED = 2000
"""So many snapshots are left out at most, evenly chosen; of more the shares are as good."""


@dataclass(frozen=True)
class Checked:
    """One snapshot, left out.

    Attributes:
        product: The product that holds it.
        number: Which of its snapshots it is, from 0.
        nearest: The product that it would be taken for.
        score: Likeness to its own product's other snapshots; None if it has no other.
        other: Likeness to the nearest other product; None if there is no other.
        rate: Share of strangers that would be as near to the nearest product.
        mislabelled: Whether it is far nearer to another product than to its own.
        odd: Whether it is unlike the others of its product, and no nearer to another.
    """

    product: str
    number: int
    nearest: str
    score: float | None
    other: float | None
    rate: float
    mislabelled: bool = False
    odd: bool = False

    @property
    def judged(self) -> bool:
        """Whether its product has another snapshot, so that it can be told how it will be named."""
        return self.score is not None


@dataclass(frozen=True)
class GalleryCheck:
    """What the snapshots of a gallery say of it.

    Attributes:
        snapshots: Each of them, left out.
        false_accept_rate: What was asked, from 0 to 1.
        products: How many there are.
        of: How many snapshots there are, those that were not looked at included.
        counts: Of each product its snapshots.
    """

    snapshots: tuple[Checked, ...]
    false_accept_rate: float
    products: int
    of: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    def at(self, rate: float) -> GalleryCheck:
        """Return the same for another asked rate."""
        return replace(self, false_accept_rate=rate)

    def by_product(self) -> dict[str, float]:
        """Return the expected share named rightly of each product that has two snapshots."""
        shares: dict[str, list[bool]] = {}
        for one in self.snapshots:
            if one.judged:
                right = one.nearest == one.product and one.rate <= self.false_accept_rate
                shares.setdefault(one.product, []).append(right)
        return {product: float(np.mean(rows)) for product, rows in shares.items()}

    @property
    def named(self) -> float | None:
        """Expected share of parts that will be named rightly; None if no product has two."""
        shares = self.by_product()
        return float(np.mean(list(shares.values()))) if shares else None

    @property
    def lone(self) -> list[str]:
        """Products of one snapshot, which nothing can be told of."""
        return [product for product, count in self.counts.items() if count == 1]

    def confusions(self) -> list[tuple[str, str, int]]:
        """Return pairs (product, taken for, how many snapshots), most first."""
        pairs: dict[tuple[str, str], int] = {}
        for one in self.snapshots:
            if one.judged and one.nearest != one.product and not one.mislabelled:
                pair = (one.product, one.nearest)
                pairs[pair] = pairs.get(pair, 0) + 1
        return sorted(((*pair, n) for pair, n in pairs.items()), key=lambda row: -row[2])


def check_gallery(
    labels: Sequence[str],
    snapshots: Sequence[Embeddings],
    prior: Embeddings,
    cohort: Cohort,
    *,
    false_accept_rate: float = 0.05,
    same_picture: float = SAME_PICTURE,
    most: int = MOST_CHECKED,
) -> GalleryCheck:
    """Leave each snapshot out once.

    Args:
        labels: The products' names, P of them.
        snapshots: Of each its snapshots, float32 (K, D), K at least 1.
        prior: float32 (D,), the bundle's centre.
        cohort: Images that show none of the products.
        false_accept_rate: Share of strangers that may be taken for a product.
        same_picture: Cosine to a snapshot from which on a frame is that very picture, and known.
        most: Snapshots that are looked at, at most, evenly chosen by product.

    Raises:
        VisionEdgeError: If there are no products, or shapes or the rate do not fit.
    """
    snapshots = checked_products(labels, snapshots, prior, false_accept_rate)
    strangers = fit_strangers(snapshots, prior, cohort)
    found: list[Checked] = []
    every = ProductScores(snapshots, prior)
    shared = every if len(labels) > EXACT_CENTRES else None
    for column in _chosen(snapshots, most):
        own = [
            _left_out(labels, snapshots, prior, same_picture, column, row, shared)
            for row in range(min(len(snapshots[column]), most))
        ]
        rates = strangers.rate(np.array([_best(one) for one in own], dtype=np.float64))
        rated = [
            one if one.rate == 0.0 else replace(one, rate=float(rate))
            for one, rate in zip(own, rates, strict=True)
        ]
        found.extend(_suspected(rated, every.units(snapshots[column][: len(rated)])))
    counts = {label: len(rows) for label, rows in zip(labels, snapshots, strict=True)}
    total = sum(counts.values())
    return GalleryCheck(tuple(found), false_accept_rate, len(labels), total, counts)


def judge_strangers(
    labels: Sequence[str],
    snapshots: Sequence[Embeddings],
    prior: Embeddings,
    cohort: Cohort,
    pictures: Embeddings,
    *,
    same_picture: float = SAME_PICTURE,
) -> list[Checked]:
    """Judge pictures that show no product, as their frames would be.

    Args:
        labels: The products' names, P of them.
        snapshots: Of each its snapshots, float32 (K, D), K at least 1.
        prior: float32 (D,), the bundle's centre.
        cohort: Images that show none of the products.
        pictures: float32 (N, D), embedded as snapshots are.
        same_picture: Cosine to a snapshot from which on a frame is that very picture, and known.
    """
    products = ProductScores(snapshots, prior)
    units = products.units(pictures.reshape(-1, len(prior)))
    scores = FRAME_SHARE * products.of(units).astype(np.float64)
    best = scores.argmax(axis=1)
    reached = scores.max(axis=1) - cohort_shift(units, products.units(cohort.impostors))
    rates = fit_strangers(snapshots, prior, cohort).rate(reached)
    holders, likeness = products.nearest_snapshot(units, best)
    same = FRAME_SHARE * likeness >= same_picture
    best, rates = np.where(same, holders, best), np.where(same, 0.0, rates)
    return [
        Checked("", row, labels[best[row]], None, float(scores[row, best[row]]), float(rates[row]))
        for row in range(len(scores))
    ]


def _chosen(snapshots: Sequence[Embeddings], most: int) -> list[int]:
    """Return products, evenly chosen, that have so many snapshots at most together."""
    each = sum(map(len, snapshots)) / len(snapshots)
    count = max(1, min(len(snapshots), int(most / each)))
    return [int(i) for i in np.linspace(0, len(snapshots) - 1, count).round()]


def _best(one: Checked) -> float:
    return max(value for value in (one.score, one.other, -1.0) if value is not None)


def _left_out(
    labels: Sequence[str],
    snapshots: Sequence[Embeddings],
    prior: Embeddings,
    same_picture: float,
    column: int,
    row: int,
    shared: ProductScores | None = None,
) -> Checked:
    """Score one snapshot with the others, as a frame would be."""
    if shared is not None:
        return _left_out_of_many(labels, snapshots[column], same_picture, column, row, shared)
    kept: list[Embeddings] = list(snapshots)
    kept[column] = np.delete(snapshots[column], row, axis=0)
    columns = [i for i, rows in enumerate(kept) if len(rows)]
    if not columns:
        return Checked(labels[column], row, labels[column], None, None, 1.0)
    products = ProductScores([kept[i] for i in columns], prior)
    units = products.units(snapshots[column][row])
    scores = FRAME_SHARE * products.of(units)[0]
    holders, likeness = products.nearest_snapshot(units, scores.argmax(keepdims=True))
    by_column: dict[int, float] = dict(zip(columns, map(float, scores), strict=True))
    own = by_column.pop(column, None)
    if own is not None:
        fewer = len(kept[column])
        own += ONE_MORE_SNAPSHOT * (1 / fewer - 1 / (fewer + 1))
        scores[columns.index(column)] = own
    other = max(by_column.values(), default=None)
    same = FRAME_SHARE * float(likeness[0]) >= same_picture
    nearest = labels[columns[int(holders[0] if same else scores.argmax())]]
    return Checked(labels[column], row, nearest, own, other, 0.0 if same else 1.0)


def _left_out_of_many(
    labels: Sequence[str],
    rows: Embeddings,
    same_picture: float,
    column: int,
    row: int,
    shared: ProductScores,
) -> Checked:
    """Score one snapshot with the others of many products, from the centre of all."""
    unit = shared.units(rows[row])
    scores = FRAME_SHARE * shared.of(unit)[0]
    scores[column], own = -np.inf, None
    holder, other = int(scores.argmax()), float(scores.max())
    likeness = float(shared.likeness(unit[0], np.array([holder]))[0])
    if len(rows) > 1:
        fewer = len(rows) - 1
        rest = ProductScores([np.delete(rows, row, axis=0)], shared.centre, centre=shared.centre)
        own = FRAME_SHARE * float(rest.of(unit)[0, 0])
        own += ONE_MORE_SNAPSHOT * (1 / fewer - 1 / (fewer + 1))
        scores[column] = own
        if (of_own := float(rest.likeness(unit[0], np.array([0]))[0])) >= likeness:
            holder, likeness = column, of_own
    same = FRAME_SHARE * likeness >= same_picture
    nearest = labels[holder if same else int(scores.argmax())]
    return Checked(labels[column], row, nearest, own, other, 0.0 if same else 1.0)


def _suspected(rows: list[Checked], units: Embeddings) -> list[Checked]:
    """Mark the snapshots of one product that bear a wrong label, or are odd.

    Args:
        rows: Its K snapshots, left out.
        units: float32 (K, D), their directions from the centre.
    """
    if len(rows) < LEAST_JUDGED:
        return rows
    own: NDArray[np.float64] = np.array([one.score for one in rows], dtype=np.float64)
    stranger = COMPANY_SHARE * _unlike_the_others(units)
    middle = float(np.median(own))
    marked = []
    for one, score, unlike in zip(rows, own, stranger, strict=True):
        nearer = one.other is not None and one.other - score + unlike > WRONG_LEAD
        wrong = nearer and unlike > 0.0
        far = score < ODD_SHARE * middle and score < middle - ODD_LEAST
        marked.append(replace(one, mislabelled=bool(wrong), odd=bool(far and not wrong)))
    return marked


def _unlike_the_others(units: Embeddings) -> NDArray[np.float64]:
    """Return how much more alike the others are than each is to them: float64 (K,) of (K, D)."""
    count = len(units)
    pairs = FRAME_SHARE * cosines(units, units).astype(np.float64)
    to_each = pairs.sum(axis=1) - np.diag(pairs)
    among = (to_each.sum() - 2.0 * to_each) / ((count - 1) * (count - 2))
    unlike: NDArray[np.float64] = among - to_each / (count - 1)
    return unlike


def check_document(check: GalleryCheck, identifiers: dict[str, list[int]]) -> dict[str, Any]:
    """Return the check as JSON values.

    Args:
        check: The check.
        identifiers: Of each product its snapshots' numbers in the gallery.
    """
    return {
        "false_accept_rate": check.false_accept_rate,
        "products": check.products,
        "snapshots": check.of,
        "looked_at": len(check.snapshots),
        "named": None if check.named is None else round(check.named, 4),
        "by_product": {name: round(share, 4) for name, share in check.by_product().items()},
        "one_snapshot": check.lone,
        "taken_for": [
            {"product": product, "taken_for": other, "snapshots": count}
            for product, other, count in check.confusions()
        ],
        "mislabelled": [_named(one, identifiers) for one in check.snapshots if one.mislabelled],
        "odd": [_named(one, identifiers) for one in check.snapshots if one.odd],
    }


def _named(one: Checked, identifiers: dict[str, list[int]]) -> dict[str, Any]:
    return {
        "snapshot": identifiers[one.product][one.number],
        "product": one.product,
        "nearest": one.nearest,
        "score": None if one.score is None else round(one.score, 4),
        "other": None if one.other is None else round(one.other, 4),
    }

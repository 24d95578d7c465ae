"""How good is a gallery? Told by its own snapshots, each of them left out once.

A snapshot that is left out is as good as a new picture of its product. Where it lands says which
products will be taken for one another, which snapshot is odd or bears a wrong label, and what share
of parts will be named. With K snapshots a product, those that are left out are judged by K - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.product_scores import ProductScores
from vision_edge.runtime.recognition.prototypes import SAME_PICTURE, checked_products
from vision_edge.runtime.recognition.snapshot_scores import FRAME_SHARE
from vision_edge.runtime.recognition.strangers import Cohort, fit_strangers

WRONG_LEAD = 0.05
"""A snapshot bears a wrong label when another product is nearer by so much."""
NEXT_GAIN = 0.1
"""One snapshot more brings the own product nearer, by this times `1 / (K - 1) - 1 / K`."""
LEAST_JUDGED = 3
"""So many snapshots of a product tell which of them is odd; of fewer either may be."""
ODD_SHARE, ODD_LEAST = 0.5, 0.2
"""A snapshot is odd when it is but half as near to its product as the middle one of it, and by this
much at least."""


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
    """

    snapshots: tuple[Checked, ...]
    false_accept_rate: float
    products: int

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
        counts: dict[str, int] = {}
        for one in self.snapshots:
            counts[one.product] = counts.get(one.product, 0) + 1
        return [product for product, count in counts.items() if count == 1]

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
) -> GalleryCheck:
    """Leave each snapshot out once.

    Args:
        labels: The products' names, P of them.
        snapshots: Of each its snapshots, float32 (K, D), K at least 1.
        prior: float32 (D,), the bundle's centre.
        cohort: Images that show none of the products.
        false_accept_rate: Share of strangers that may be taken for a product.
        same_picture: Cosine to a snapshot from which on a frame is that very picture, and known.

    Raises:
        VisionEdgeError: If there are no products, or shapes or the rate do not fit.
    """
    snapshots = checked_products(labels, snapshots, prior, false_accept_rate)
    strangers = fit_strangers(snapshots, prior, cohort)
    found: list[Checked] = []
    for column, rows in enumerate(snapshots):
        own = [
            _left_out(labels, snapshots, prior, same_picture, column, row)
            for row in range(len(rows))
        ]
        rates = strangers.rate(np.array([_best(one) for one in own], dtype=np.float64))
        rated = [
            one if one.rate == 0.0 else replace(one, rate=float(rate))
            for one, rate in zip(own, rates, strict=True)
        ]
        found.extend(_suspected(rated))
    return GalleryCheck(tuple(found), false_accept_rate, len(labels))


def _best(one: Checked) -> float:
    return max(value for value in (one.score, one.other, -1.0) if value is not None)


def _left_out(
    labels: Sequence[str],
    snapshots: Sequence[Embeddings],
    prior: Embeddings,
    same_picture: float,
    column: int,
    row: int,
) -> Checked:
    """Score one snapshot with the others, as a frame would be."""
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
        own += NEXT_GAIN * (1 / fewer - 1 / (fewer + 1))
        scores[columns.index(column)] = own
    other = max(by_column.values(), default=None)
    same = FRAME_SHARE * float(likeness[0]) >= same_picture
    nearest = labels[columns[int(holders[0] if same else scores.argmax())]]
    return Checked(labels[column], row, nearest, own, other, 0.0 if same else 1.0)


def _suspected(rows: list[Checked]) -> list[Checked]:
    """Mark the snapshots of one product that bear a wrong label, or are odd."""
    if len(rows) < LEAST_JUDGED:
        return rows
    own: NDArray[np.float64] = np.array([one.score for one in rows], dtype=np.float64)
    middle = float(np.median(own))
    marked = []
    for one, score in zip(rows, own, strict=True):
        wrong = one.other is not None and one.other > score + WRONG_LEAD and score < middle
        far = score < ODD_SHARE * middle and score < middle - ODD_LEAST
        marked.append(replace(one, mislabelled=wrong, odd=bool(far and not wrong)))
    return marked

"""What snapshots score, left out: with the other products as strangers, and with their own.

Where photographs of anything are at hand, what a picture resembles among them is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.product_scores import ProductScores
from vision_edge.runtime.recognition.tails import Floats

COHORT_WEIGHT = 0.5
"""How much of a query's similarity to its nearest impostors counts against it."""
COHORT_NEAREST = 10
"""How many impostors are near."""
FRAME_SHARE = 0.97
"""A frame is one view, a snapshot the mean of its crops: a frame's cosines are so much smaller."""
ONE_MORE_SNAPSHOT = 0.1
"""With K snapshots its own product is nearer to a frame by this times `1 - 1 / K`."""
REGISTERED_TWICE = 0.95
"""Snapshots of one product with so large a cosine are the same picture, or one moment later."""
MOST_DRAWS, MOST_EACH = 256, 10
EXACT_CENTRES = 64
"""Beyond so many products, one more or less moves their common centre by nothing."""


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


def reached_with_others(
    snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> tuple[NDArray[np.intp], list[Floats]]:
    """Return what products' snapshots reach with each of the other products, as frames would.

    Seen from a centre without the snapshots' own product. Of more than `EXACT_CENTRES` products up
    to `MOST_DRAWS` are looked at, by their first and last snapshots, from the centre of all: a
    sample tells as much as all.

    Args:
        snapshots: Of each of P products its snapshots, float32 (K, D), P at least 2.
        prior: float32 (D,), the bundle's centre.
        impostors: float32 (M, D), what a score is lowered for resembling.

    Returns:
        Which products the snapshots are of, int (N,), and of each float64 (K, P): `-inf` with its
        own product.
    """
    count = len(snapshots)
    if count <= EXACT_CENTRES:
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


@dataclass(frozen=True)
class OwnLikeness:
    """How alike pictures of one product are, told by snapshots left out.

    Attributes:
        scores: float64 (N,), what snapshots reach with the others of their own product, as frames
            would.
        mean: What a frame reaches with one snapshot of its own product, the mean of the products'.
        products: How many of them tell that; without any the mean says nothing.
        shift: What is taken off scores for resembling impostors, the mean of snapshots'.
    """

    scores: Floats
    mean: float = 0.0
    products: int = 0
    shift: float = 0.0


def own_likeness(
    products: ProductScores, snapshots: Sequence[Embeddings], impostors: Embeddings
) -> OwnLikeness:
    """Return what snapshots reach with their own product's others.

    A picture that is registered twice says nothing of how a product's pictures differ: it has no
    say in the mean. Of more than `MOST_DRAWS` products with two snapshots so many are looked at,
    evenly chosen, and of more than `MOST_EACH` snapshots the first ones.

    Args:
        products: The products, which tell the centre.
        snapshots: Of each of them its snapshots, float32 (K, D).
        impostors: float32 (M, D), what a score is lowered for resembling.
    """
    several = [rows[:MOST_EACH] for rows in snapshots if len(rows) > 1]
    if not several:
        return OwnLikeness(np.zeros(0))
    chosen = np.unique(np.linspace(0, len(several) - 1, MOST_DRAWS).astype(int))
    found = [_left_out(several[own], products) for own in chosen]
    telling = [scores[~twice] for scores, twice in found]
    more = [ONE_MORE_SNAPSHOT * (1.0 - 1.0 / (len(twice) - 1)) for _, twice in found]
    means = [float(t.mean()) - m for t, m in zip(telling, more, strict=True) if len(t)]
    told = round(len(means) * len(several) / len(chosen))
    every = np.concatenate([scores for scores, _ in found])
    shown = products.units(np.concatenate([several[own] for own in chosen]))
    shift = float(cohort_shift(shown, products.units(impostors)).mean())
    return OwnLikeness(every, float(np.mean(means)) if means else 0.0, told, shift)


def _left_out(rows: Embeddings, products: ProductScores) -> tuple[Floats, NDArray[np.bool_]]:
    """Score each snapshot of a product, float32 (K, D), by the K - 1 others.

    Returns:
        float64 (K,), and which of them are registered twice, bool (K,).
    """
    scores, twice = np.empty(len(rows)), np.empty(len(rows), dtype=np.bool_)
    for row in range(len(rows)):
        rest = np.delete(rows, row, axis=0)
        others = ProductScores([rest], products.centre, products.centre)
        unit = others.units(rows[row])
        scores[row] = FRAME_SHARE * float(others.of(unit)[0, 0])
        twice[row] = float(others.likeness(unit[0], np.array([0]))[0]) >= REGISTERED_TWICE
    return scores, twice


def _reached_exactly(
    own: int, snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> Floats:
    others = ProductScores([*snapshots[:own], *snapshots[own + 1 :]], prior)
    units = others.units(snapshots[own])
    scores = FRAME_SHARE * others.of(units).astype(np.float64)
    shift = cohort_shift(units, others.units(impostors))
    reached: Floats = np.insert(scores - shift[:, None], own, -np.inf, axis=1)
    return reached

"""What snapshots score, left out: with the other products as strangers, and with their own.

Where photographs of anything are at hand, what a picture resembles among them is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence

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
MOST_DRAWS = 256
_EACH = 10
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


def own_scores(products: ProductScores, snapshots: Sequence[Embeddings]) -> Floats:
    """Return what up to `MOST_DRAWS` products' snapshots reach with their own others.

    Returns:
        float64 (N,), as a frame would; empty where no product has two snapshots.
    """
    several = [rows for rows in snapshots if len(rows) > 1]
    if not several:
        return np.zeros(0)
    chosen = np.unique(np.linspace(0, len(several) - 1, MOST_DRAWS).astype(int))
    found: list[float] = []
    for own in chosen:
        rows = several[own]
        for row in range(len(rows)) if len(rows) <= _EACH else (0, len(rows) - 1):
            others = ProductScores([np.delete(rows, row, axis=0)], products.centre, products.centre)
            found.append(FRAME_SHARE * float(others.of(others.units(rows[row]))[0, 0]))
    return np.asarray(found, dtype=np.float64)


def _reached_exactly(
    own: int, snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> Floats:
    others = ProductScores([*snapshots[:own], *snapshots[own + 1 :]], prior)
    units = others.units(snapshots[own])
    scores = FRAME_SHARE * others.of(units).astype(np.float64)
    shift = cohort_shift(units, others.units(impostors))
    reached: Floats = np.insert(scores - shift[:, None], own, -np.inf, axis=1)
    return reached

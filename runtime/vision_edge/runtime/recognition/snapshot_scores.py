"""What snapshots score, left out: with the other products as strangers, and with their own.

Where photographs of anything are at hand, what a picture resembles among them is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
_EXACT_CENTRES = 64


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


def reached_by_others(
    snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> list[Floats]:
    """Return the best scores that snapshots reach with the other products, as a frame would.

    Args:
        snapshots: Of each of P products its snapshots, float32 (K, D), P at least 2.
        prior: float32 (D,), the bundle's centre.
        impostors: float32 (M, D), what a score is lowered for resembling.

    Returns:
        Of each product float64 (K,); of very many products some.
    """
    if len(snapshots) <= _EXACT_CENTRES:
        return _reached_exactly(snapshots, prior, impostors)
    return _reached_by_some(snapshots, prior, impostors)


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
    snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> list[Floats]:
    """Return what each product's snapshots reach, from a centre that does not contain it."""
    reached = []
    for own, rows in enumerate(snapshots):
        others = ProductScores([*snapshots[:own], *snapshots[own + 1 :]], prior)
        units = others.units(rows)
        best = FRAME_SHARE * others.of(units).max(axis=1).astype(np.float64)
        reached.append(best - cohort_shift(units, others.units(impostors)))
    return reached


def _reached_by_some(
    snapshots: Sequence[Embeddings], prior: Embeddings, impostors: Embeddings
) -> list[Floats]:
    """Return what up to `MOST_DRAWS` products' first and last snapshots reach.

    Among so many one product more or less moves the centre by nothing, and a sample tells as much
    as all.
    """
    products = ProductScores(snapshots, prior)
    chosen = np.unique(np.linspace(0, len(snapshots) - 1, MOST_DRAWS).astype(int))
    centred = products.units(impostors)
    reached = []
    for own in chosen:
        rows = snapshots[own]
        units = products.units(rows if len(rows) < 3 else rows[[0, -1]])
        scores = products.of(units)
        scores[:, own] = -np.inf
        best = FRAME_SHARE * scores.max(axis=1).astype(np.float64)
        reached.append(best - cohort_shift(units, centred))
    return reached

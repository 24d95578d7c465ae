"""What scoring takes from a bundle, measured when the bundle is exported.

Which centre serves depends on the model: the mean of generated scenes lies elsewhere than a
station's pictures and costs AUROC, that of a model whose embeddings all lie in one narrow cone is
what makes their differences visible, and a set of labelled pictures tells it by trial.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.product_scores import ProductScores, normalise

FACTORS = (0.0, 0.5, 1.0)
"""Shares of the cohort's mean that are tried as the centre; without it the cosine is plain."""
NARROW = 0.72
"""From this share of common energy on, cosines about the origin tell nothing. Vision transformers
lie at 0.2 to 0.7, whatever the pictures."""
BETTER = 0.002
"""A centre must rank strangers better than plain cosine by so much of AUROC, or it is chance."""
LEAST_SAME, MOST_SAME = 0.85, 0.93
"""Generated scenes and photographs differ by so much: one photograph in a hundred is at 0.93 to its
own snapshot where generated scenes are at 0.95, and at 0.93 where those are at 0.87."""
_SAME_QUANTILE = 0.01
_DRAWS, _PRODUCTS, _PICTURES = 60, 8, 10


def common_energy(embeddings: Embeddings) -> float:
    """Return the share of the energy of float32 (N, D) embeddings that is their mean's, 0 to 1."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    total = float(np.square(embeddings, dtype=np.float64).sum(axis=1).mean())
    return float(mean @ mean) / max(total, 1e-12)


def centre_factor(cohort: Embeddings) -> float:
    """Return the share of the cohort's mean to centre on, told by the cohort alone.

    Args:
        cohort: float32 (M, D); any pictures.
    """
    return 1.0 if len(cohort) and common_energy(cohort) >= NARROW else 0.0


def tried_centre_factor(
    embeddings: Embeddings, labels: NDArray[np.int64], mean: Embeddings
) -> float:
    """Return the share of the cohort's mean that ranks strangers best, by trial on labels.

    Half of the classes are registered by one picture each, the others are strangers, many times.

    Args:
        embeddings: float32 (N, D).
        labels: int (N,), their classes; at least 4 of two pictures or more.
        mean: float32 (D,), the cohort's mean.
    """
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    members = [rows for rows in members if len(rows) > 1]
    products = min(_PRODUCTS, len(members) // 2)
    found = np.zeros(len(FACTORS))
    for _ in range(_DRAWS):
        drawn = [rng.permutation(members[i])[:_PICTURES] for i in rng.permutation(len(members))]
        known, others = drawn[:products], drawn[products : 2 * products]
        shots = [embeddings[rows[:1]] for rows in known]
        own = embeddings[np.concatenate([rows[1:] for rows in known])]
        strangers = embeddings[np.concatenate(others)]
        for column, factor in enumerate(FACTORS):
            scores = ProductScores(shots, (factor * mean).astype(np.float32))
            best = [scores.of(scores.units(x)).max(axis=1) for x in (own, strangers)]
            found[column] += ranking(*best) / _DRAWS
    return FACTORS[int(found.argmax())] if found.max() > found[0] + BETTER else FACTORS[0]


def ranking(own: NDArray[np.float32], strangers: NDArray[np.float32]) -> float:
    """Return the AUROC: the share of pairs in which the product's picture scores higher."""
    order = np.sort(strangers)
    below = np.searchsorted(order, own, "left") + np.searchsorted(order, own, "right")
    return float(below.mean() / (2 * max(len(strangers), 1)))


def same_picture(frames: Embeddings, snapshots: Embeddings, centre: Embeddings) -> float:
    """Return the cosine to a snapshot from which on a frame is taken for that very picture.

    A snapshot is the mean of a picture's crops; all but one in a hundred pictures are so near to
    their own.

    Args:
        frames: float32 (N, D), embeddings of whole pictures.
        snapshots: float32 (N, D), of the same as snapshots.
        centre: float32 (D,).
    """
    pairs = normalise(frames, centre) * normalise(snapshots, centre)
    near = float(np.quantile(pairs.sum(axis=1), _SAME_QUANTILE))
    return float(np.clip(near, LEAST_SAME, MOST_SAME))

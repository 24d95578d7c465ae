"""Few views for many: which pictures of one part are worth keeping."""

from __future__ import annotations

import numpy as np

from vision_edge.runtime.arrays import Embeddings

_SAME = 1e-5  # share of an embedding's length within which rounding may part equal pictures


def differing(embeddings: Embeddings, most: int) -> list[int]:
    """Return the rows that stand best for all: each picture has one that is near.

    Chosen one by one, each so that the pictures' distances to the nearest chosen one fall the most
    (facility location; greedy choice reaches 1 - 1/e of the best: Nemhauser et al. 1978). Unlike
    the farthest point, a single odd picture (a hand, a glare) is not what is looked for.

    Args:
        embeddings: float32 (N, D), N at least 1.
        most: How many rows at most; at least 1.

    Returns:
        Indices in the order of choice, the one nearest to all first; fewer than `most` where the
        others are the same as these.
    """
    apart = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=2)  # (N, N)
    nearest = np.full(len(apart), np.inf)
    chosen: list[int] = []
    same = _SAME * float(np.linalg.norm(embeddings, axis=1).mean())
    while len(chosen) < most and nearest.max() > same:
        left = np.minimum(nearest, apart).sum(axis=1)
        left[chosen] = np.inf
        chosen.append(int(left.argmin()))
        nearest = np.minimum(nearest, apart[chosen[-1]])
    return chosen

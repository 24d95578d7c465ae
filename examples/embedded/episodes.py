"""N-way K-shot accuracy by nearest prototype."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Accuracy:
    """Mean accuracy over episodes and its 95 % confidence half-width, both in percent."""

    mean: float
    ci95: float

    def __str__(self) -> str:
        """Format as ``86.9 +-0.4``."""
        return f"{self.mean:5.2f} +-{self.ci95:.2f}"


def draw(
    members: list[NDArray[np.int64]], way: int, per_class: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the image indices of one episode, int64 ``(way, per_class)``.

    Args:
        members: image indices of each class.
        way: classes an episode.
        per_class: images a class, support and query together.
        rng: source of randomness.
    """
    chosen = rng.choice(len(members), way, replace=False)
    return np.stack([rng.choice(members[c], per_class, replace=False) for c in chosen])


def predict(support: Floats, query: Floats, centred: bool) -> NDArray[np.int64]:
    """Classify queries by their nearest prototype.

    Args:
        support: float32 ``(way, shot, D)``.
        query: float32 ``(Q, D)``.
        centred: subtract the support mean, then cosine; otherwise Euclidean distance.

    Returns:
        int64 ``(Q,)``, the class within the episode.
    """
    if centred:
        centre = support.mean(axis=(0, 1))
        prototypes = (support - centre).mean(axis=1)
        prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True) + 1e-12
        return np.asarray(((query - centre) @ prototypes.T).argmax(axis=1))
    prototypes = support.mean(axis=1)
    squared = (prototypes**2).sum(axis=1) - 2 * query @ prototypes.T
    return np.asarray(squared.argmin(axis=1))


def few_shot_accuracy(
    embeddings: Floats,
    labels: NDArray[np.int64],
    shot: int = 1,
    centred: bool = True,
    way: int = 5,
    query: int = 15,
    episodes: int = 600,
    seed: int = 0,
) -> Accuracy:
    """Measure nearest-prototype accuracy over random episodes.

    Args:
        embeddings: float32 ``(N, D)``.
        labels: int64 ``(N,)``.
        shot: support images a class.
        centred: see :func:`predict`.
        way: classes an episode.
        query: query images a class.
        episodes: number of episodes.
        seed: the same seed draws the same episodes for every embedder.

    Raises:
        ValueError: too few classes, or a class with too few images.
    """
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    fewest = min(len(m) for m in members)
    if len(members) < way or fewest < shot + query:
        raise ValueError(
            f"{way}-way episodes of {shot}+{query} images need as many classes and images; "
            f"got {len(members)} classes, the smallest of {fewest} images"
        )
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(way), query)
    scores = np.empty(episodes)
    for i in range(episodes):
        index = draw(members, way, shot + query, rng)
        support = embeddings[index[:, :shot]]
        guesses = predict(support, embeddings[index[:, shot:].ravel()], centred)
        scores[i] = (guesses == truth).mean()
    half = 1.96 * scores.std(ddof=1) / np.sqrt(episodes)
    return Accuracy(100 * float(scores.mean()), 100 * float(half))

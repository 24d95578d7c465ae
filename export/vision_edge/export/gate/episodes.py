"""N-way K-shot episodes, and accuracy over them with a confidence interval.

Protocol: Vinyals et al. 2016 (Matching Networks) and Snell et al. 2017; accuracy is the mean over
episodes, its 95 % interval 1.96 standard errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.errors import DataError
from vision_edge.runtime.recognition.product_scores import Scores, centre_of, centred_cosine
from vision_edge.runtime.recognition.prototypes import negative_euclidean

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeSettings:
    """An evaluation's settings.

    Attributes:
        way: Classes an episode, N.
        shot: Support images a class, K.
        query: Query images a class.
        episodes: How many episodes.
        seed: Decides which classes and images.
    """

    way: int = 5
    shot: int = 1
    query: int = 15
    episodes: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {"way": 2, "shot": 1, "query": 1, "episodes": 2}
        for name, least in limits.items():
            if getattr(self, name) < least:
                raise DataError(
                    f"{name} must be at least {least}; got {getattr(self, name)}",
                    fix=f"raise --{name}",
                )


@dataclass(frozen=True)
class Episode:
    """One task: image indices, `support` (way, shot) and `query` (way, query)."""

    support: Indices
    query: Indices


def draw(members: Sequence[Indices], settings: EpisodeSettings) -> Iterator[Episode]:
    """Yield the same episodes for the same members, settings and seed.

    Args:
        members: Of each class, at least `settings.way` of them, its images' indices, at least
            `shot + query` of them.
        settings: Which episodes.
    """
    rng = np.random.default_rng(settings.seed)
    need = settings.shot + settings.query
    for _ in range(settings.episodes):
        classes = rng.permutation(len(members))[: settings.way]
        rows = np.stack([rng.permutation(members[c])[:need] for c in classes])
        yield Episode(rows[:, : settings.shot], rows[:, settings.shot :])


def centred_cosine_scores(query: Embeddings, prototypes: Embeddings) -> Scores:
    """Score (Q, D) against (N, D) by cosine about the support's mean: float32 (Q, N)."""
    return centred_cosine(query, prototypes, centre_of(prototypes))


METRICS: dict[str, Callable[[Embeddings, Embeddings], Scores]] = {
    "centred-cosine": centred_cosine_scores,
    "euclidean": negative_euclidean,
}
"""How queries are scored against prototypes; the runtime's own functions."""


@dataclass(frozen=True)
class Accuracy:
    """Mean accuracy over episodes and the half-width of its 95 % interval, both in percent."""

    mean: float
    ci95: float


def accuracy_over(
    embeddings: Embeddings,
    members: Sequence[Indices],
    settings: EpisodeSettings,
    metric: str = "centred-cosine",
) -> Accuracy:
    """Return the accuracy of nearest-prototype classification.

    Args:
        embeddings: float32 (N, D).
        members: Of each class, the rows of its images; as `draw` needs them.
        settings: Which episodes.
        metric: A key of `METRICS`.
    """
    score = METRICS[metric]
    truth = np.repeat(np.arange(settings.way), settings.query)
    rates = []
    for episode in draw(members, settings):
        prototypes = embeddings[episode.support].mean(axis=1)  # (way, D)
        query = embeddings[episode.query].reshape(-1, embeddings.shape[1])
        rates.append(float((score(query, prototypes).argmax(axis=1) == truth).mean()))
    standard_error = np.std(rates, ddof=1) / np.sqrt(len(rates))
    return Accuracy(100.0 * float(np.mean(rates)), 196.0 * float(standard_error))

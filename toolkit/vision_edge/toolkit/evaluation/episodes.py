"""Episodes of a data set.

`vision_edge.export.gate.episodes` has the protocol, which the gate shares.
"""

from __future__ import annotations

from collections.abc import Iterator

from vision_edge.export.gate.episodes import (
    METRICS,
    Accuracy,
    Episode,
    EpisodeSettings,
    accuracy_over,
    centred_cosine_scores,
    draw,
)
from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.errors import DataError
from vision_edge.toolkit.data.dataset import Dataset

__all__ = [
    "METRICS",
    "Accuracy",
    "Episode",
    "EpisodeSettings",
    "centred_cosine_scores",
    "check_enough",
    "draw_episodes",
    "episode_accuracy",
]


def draw_episodes(data: Dataset, settings: EpisodeSettings) -> Iterator[Episode]:
    """Yield the same episodes for the same data, settings and seed.

    Raises:
        DataError: If there are too few classes, or a class has too few images.
    """
    check_enough(data, settings)
    yield from draw(data.by_class(), settings)


def check_enough(data: Dataset, settings: EpisodeSettings) -> None:
    """Raise `DataError` if there are too few classes, or a class has too few images."""
    members = data.by_class()
    if len(members) < settings.way:
        raise DataError(
            f"{data.name}: {len(members)} class(es) cannot make {settings.way}-way episodes",
            fix=f"use --way {max(len(members), 2)} or less, or give more classes",
        )
    need = settings.shot + settings.query
    for label, images in zip(data.classes, members, strict=True):
        if len(images) < need:
            raise DataError(
                f"{data.name}: class {label!r} has {len(images)} image(s); {settings.shot} shot "
                f"and {settings.query} query images need {need}",
                fix="lower --shot or --query, or add images to that class",
            )


def episode_accuracy(
    embeddings: Embeddings, data: Dataset, settings: EpisodeSettings, metric: str
) -> Accuracy:
    """Return the accuracy of nearest-prototype classification.

    Args:
        embeddings: float32 (N, D), one row an image of `data`.
        data: The images' classes.
        settings: Which episodes.
        metric: A key of `METRICS`.

    Raises:
        DataError: If there are too few classes, or a class has too few images.
    """
    check_enough(data, settings)
    return accuracy_over(embeddings, data.by_class(), settings, metric)

"""The gate's trial: few-shot accuracy and verdicts of two models on the same pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_edge.export.gate.episodes import EpisodeSettings, Indices, accuracy_over
from vision_edge.export.gate.picture_views import views_of
from vision_edge.export.settings import LabelledImages
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.manifest import AccuracyInfo, VerdictInfo
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.recognition.bundle_calibration import centre_factor
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

BATCH = 32
VIEWED, VIEWS = 48, 4
"""How many pictures get views when there are no labels, and how many each."""
VIEWED_WAY, WAY, QUERIES = 20, 5, 15
"""Classes an episode without and with labels, and query images a class."""
VIEW_EPISODES, EPISODES = 200, 600
MOST_PRODUCTS, MOST_PICTURES = 16, 400


@dataclass(frozen=True)
class Embedded:
    """What one model makes of the trial's pictures and of the cohort.

    Attributes:
        pictures: float32 (N, D).
        cohort: float32 (M, D).
    """

    pictures: Embeddings
    cohort: Embeddings


def in_batches(embedder: Embedder, images: Image) -> Embeddings:
    """Embed uint8 (N, S, S, 3) BGR as float32 (N, D), some at a time."""
    parts = [embedder.embed(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def labelled_by_views(images: Image, source: str) -> LabelledImages:
    """Return pictures and their views, each picture a class of its own.

    Args:
        images: uint8 (N, S, S, 3), BGR; those spread over them are taken if there are many.
        source: What they are.
    """
    chosen = images[np.linspace(0, len(images) - 1, min(VIEWED, len(images))).astype(int)]
    stacked = np.concatenate([chosen[:, None], views_of(chosen, VIEWS)], axis=1)
    labels = np.repeat(np.arange(len(chosen)), 1 + VIEWS)
    flat = stacked.reshape(-1, *chosen.shape[1:])
    return LabelledImages(flat, labels, f"views of {source}", own_views=True)


def compare_accuracy(
    trial: LabelledImages, reference: Embeddings, candidate: Embeddings
) -> AccuracyInfo:
    """Return both accuracies on the same episodes; embeddings are float32 (N, D)."""
    members = trial.members()
    smallest = min(len(rows) for rows in members)
    settings = EpisodeSettings(
        way=min(VIEWED_WAY if trial.own_views else WAY, len(members)),
        shot=1,
        query=min(QUERIES, smallest - 1),
        episodes=VIEW_EPISODES if trial.own_views else EPISODES,
    )
    exact, ours = (accuracy_over(e, members, settings).mean for e in (reference, candidate))
    return AccuracyInfo(
        data=trial.source,
        way=settings.way,
        shot=settings.shot,
        query=settings.query,
        episodes=settings.episodes,
        float32=exact,
        exported=ours,
    )


def compare_verdicts(
    trial: LabelledImages, reference: Embedded, candidate: Embedded, photographs: bool
) -> VerdictInfo:
    """Register the first picture of every other class, judge the rest, and compare the verdicts.

    Args:
        trial: The pictures.
        reference: What the float32 model makes of them.
        candidate: What the exported model makes of them.
        photographs: Whether the cohort are photographs of the station's kind.
    """
    members = trial.members()
    registered = [rows[0] for rows in members[::2][:MOST_PRODUCTS]]
    rest = np.setdiff1d(np.arange(len(trial.images)), registered)
    judged = rest[np.linspace(0, len(rest) - 1, min(MOST_PICTURES, len(rest))).astype(int)]
    left, right = (
        _verdicts(embedded, np.asarray(registered), judged, photographs)
        for embedded in (reference, candidate)
    )
    equal = np.mean([a == b for a, b in zip(left, right, strict=True)])
    return VerdictInfo(
        products=len(registered),
        pictures=len(judged),
        known=sum(label is not None for label in left),
        agreement=float(equal),
    )


def _verdicts(
    embedded: Embedded, registered: Indices, judged: Indices, photographs: bool
) -> list[str | None]:
    classifier = PrototypeClassifier(
        [str(row) for row in registered],
        embedded.pictures[registered],
        centre_factor(embedded.cohort) * embedded.cohort.mean(axis=0, dtype=np.float32),
        Cohort(embedded.cohort, from_station=photographs, photographs=photographs),
    )
    return [decision.label for decision in classifier.classify(embedded.pictures[judged])]

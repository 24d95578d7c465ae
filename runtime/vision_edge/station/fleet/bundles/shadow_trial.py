"""A new bundle in shadow: what it says of the station's own pictures, beside the present one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.embedder import Embedder, embed_frame
from vision_edge.runtime.pipeline.gallery_classifier import (
    cohort_of,
    prior_of,
    same_picture_of,
)
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot, kept_snapshot
from vision_edge.runtime.recognition.domains import shift_between
from vision_edge.runtime.recognition.product_scores import ProductScores
from vision_edge.runtime.recognition.prototypes import Negatives, PrototypeClassifier
from vision_edge.station.fleet.bundles.trial_report import Figures, Report, judged
from vision_edge.station.settings.fleet import ShadowLimits

WARM_UP, TIMED = 3, 20


class Trial(Embedder, Protocol):
    """A session: an embedder with its bundle."""

    @property
    def bundle(self) -> Bundle:
        """Whose centre and cohort are used."""


@runtime_checkable
class TimesItself(Protocol):
    """An embedder that knows how long its model took, because it runs elsewhere."""

    seconds: float


@dataclass(frozen=True)
class Material:
    """What bundles are tried on; images are uint8 (H, W, 3), BGR.

    Attributes:
        snapshots: Registered pictures with their products, in order of registration.
        negatives: Pictures with the product that they are not; None for no product at all.
        frames: Pictures of which nobody has said what they are.
        pages: Catalogue pictures, as JPEG, with their products: they make prototypes, and are not
            judged, for no camera shows them.
    """

    snapshots: Sequence[tuple[str, Image]]
    negatives: Sequence[tuple[str | None, Image]]
    frames: Sequence[Image]
    pages: Sequence[tuple[str, bytes]] = ()

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return len(self.snapshots) + len(self.negatives) + len(self.frames)


@dataclass(frozen=True)
class Scoring:
    """When a product is recognised, as the station's settings say."""

    false_accept_rate: float = 0.05
    threshold: float | None = None


def compare(
    present: Trial,
    new: Trial,
    material: Material,
    limits: ShadowLimits,
    scoring: Scoring | None = None,
    rest: Callable[[float], object] = lambda _: None,
) -> Report:
    """Try a new bundle beside the present one, without touching anything.

    Args:
        present: The session in use.
        new: The session of the new bundle.
        material: The station's own pictures.
        limits: What the new bundle must reach.
        scoring: When a product is recognised.
        rest: Called with the seconds each inference took, to leave the station as many.

    Returns:
        The figures, and whether the new bundle may take over.
    """
    answers = [_Answers(trial, material, scoring or Scoring(), rest) for trial in (present, new)]
    latencies = _latencies(present, new, _any_picture(material), rest)
    before, after = (
        Figures(
            trial.bundle.manifest.name,
            trial.bundle.manifest.fingerprint,
            trial.bundle.manifest.precision,
            trial.bundle.manifest.embedding_dim,
            answer.accuracy,
            answer.tested,
            answer.false_accepts,
            *latency,
        )
        for trial, answer, latency in zip((present, new), answers, latencies, strict=True)
    )
    pairs = list(zip(answers[0].labels, answers[1].labels, strict=True))
    return judged(before, after, pairs, material.count, limits)


class _Answers:
    """What one bundle says of the material.

    Attributes:
        labels: The verdict on each picture, None for unknown: snapshots, negatives, frames.
        accuracy: Share of snapshots that are nearest to their product without being in it; None
            if no product has two.
        tested: How many snapshots that is of.
        false_accepts: Negatives that are taken for what they are not.
    """

    def __init__(
        self,
        trial: Trial,
        material: Material,
        scoring: Scoring,
        rest: Callable[[float], object],
    ) -> None:
        self._judged = len(material.snapshots)
        self._names = [label for label, _ in (*material.snapshots, *material.pages)]
        self._centre = prior_of(trial.bundle)
        embed = _Embedding(trial, rest)
        shown = [image for _, image in material.snapshots]
        others = [image for _, image in material.negatives]
        own = embed.all(shown, embed_snapshot)
        pages = np.zeros((0, own.shape[1]), np.float32)
        if material.pages:
            kept = [kept_snapshot(trial, jpeg, label) for label, jpeg in material.pages]
            pages = np.stack([snapshot.embedding for snapshot in kept])
            pages += shift_between(pages, own)
        self._vectors = np.concatenate([own, pages])
        self._views = embed.all(shown, embed_frame)
        negatives = Negatives(
            embed.all(others, embed_snapshot), tuple(label for label, _ in material.negatives)
        )
        queries = [self._views, embed.all(others, embed_frame)]
        queries.append(embed.all(material.frames, embed_frame))
        self.labels = self._verdicts(
            np.concatenate(queries), trial.bundle, scoring, negatives if others else None
        )
        self.accuracy, self.tested = self._leave_one_out()
        said = self.labels[len(shown) : len(shown) + len(others)]
        self.false_accepts = sum(
            answer is not None and (label is None or answer == label)
            for (label, _), answer in zip(material.negatives, said, strict=True)
        )

    def _verdicts(
        self,
        queries: Embeddings,
        bundle: Bundle,
        scoring: Scoring,
        negatives: Negatives | None,
    ) -> list[str | None]:
        products = list(dict.fromkeys(self._names))
        if not products:
            return [None] * len(queries)
        classifier = PrototypeClassifier(
            products,
            [self._snapshots(product) for product in products],
            self._centre,
            cohort_of(bundle),
            same_picture=same_picture_of(bundle),
            false_accept_rate=scoring.false_accept_rate,
            threshold=scoring.threshold,
            negatives=negatives,
        )
        return [decision.label for decision in classifier.classify(queries)]

    def _snapshots(self, product: str, without: int | None = None) -> Embeddings:
        rows = [row for row, name in enumerate(self._names) if name == product and row != without]
        found: Embeddings = self._vectors[rows]
        return found

    def _leave_one_out(self) -> tuple[float | None, int]:
        products = list(dict.fromkeys(self._names))
        judged = enumerate(self._names[: self._judged])
        several = [row for row, name in judged if self._names.count(name) > 1]
        if not several or len(products) < 2:
            return None, 0
        snapshots = [self._snapshots(product) for product in products]
        right = 0
        for row in several:
            column = products.index(self._names[row])
            own = self._snapshots(products[column], without=row)
            held = [rows[: len(own)] for rows in snapshots]  # by as many as it, to be fair
            held[column] = own
            scores = ProductScores(held, self._centre)
            right += int(scores.of(scores.units(self._views[row])).argmax()) == column
        return right / len(several), len(several)


class _Embedding:
    """Embeds pictures one after the other, with rests."""

    def __init__(self, trial: Trial, rest: Callable[[float], object]) -> None:
        self._trial, self._rest = trial, rest

    def all(
        self, images: Sequence[Image], embed: Callable[[Embedder, Image], Embeddings]
    ) -> Embeddings:
        """Return the embeddings of pictures: float32 (N, D)."""
        dim = self._trial.bundle.manifest.embedding_dim
        vectors = np.zeros((len(images), dim), np.float32)
        for row, image in enumerate(images):
            began = time.monotonic()
            vectors[row] = embed(self._trial, image)
            self._rest(time.monotonic() - began)
        return vectors


def _any_picture(material: Material) -> Image:
    images = [*material.frames, *(image for _, image in material.snapshots)]
    return images[0] if images else np.zeros((64, 64, 3), np.uint8)


def _latencies(
    present: Trial, new: Trial, image: Image, rest: Callable[[float], object]
) -> list[tuple[float, float]]:
    """Return median and 95th percentile of an inference, ms, taken in turns on this device."""
    prepared = [prepare(image, trial.spec)[None] for trial in (present, new)]
    seconds: list[list[float]] = [[], []]
    for turn in range(WARM_UP + TIMED):
        for column, trial in enumerate((present, new)):
            began = time.monotonic()
            trial.embed(prepared[column])
            took = trial.seconds if isinstance(trial, TimesItself) else time.monotonic() - began
            rest(took)
            if turn >= WARM_UP:
                seconds[column].append(took)
    return [
        (float(np.median(column)) * 1000, float(np.percentile(column, 95)) * 1000)
        for column in seconds
    ]

"""The products of a gallery as they are now, for a run that others register during."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.recognition.prototypes import (
    NOTHING_KNOWN,
    Decision,
    Negatives,
    PrototypeClassifier,
)
from vision_edge.runtime.recognition.strangers import Cohort


class CurrentClassifier:
    """Classifies by what a gallery's file says, whoever changes it meanwhile.

    The file is asked for its version at most every `every` seconds, and read again only if that
    is new. While it cannot be read, what was known before stays.

    Args:
        path: The gallery's file.
        session: What embeds for it.
        false_accept_rate: Share of strangers that may be taken for a product, in (0, 1).
        threshold: A fixed threshold on the score instead.
        every: Seconds between two looks; 0 looks at every call.
        changed: Called after a change with the new version and the number of products.
        problem: Called with what is wrong, once, when the gallery cannot be read any more.

    Raises:
        VisionEdgeError: If the gallery cannot be opened, or holds no product to begin with.
    """

    def __init__(
        self,
        path: Path,
        session: Session,
        *,
        false_accept_rate: float = 0.05,
        threshold: float | None = None,
        every: float = 1.0,
        changed: Callable[[int, int], None] | None = None,
        problem: Callable[[GalleryError], None] | None = None,
    ) -> None:
        self._path, self._session, self._every = path, session, every
        self._rate, self._threshold = false_accept_rate, threshold
        self._changed, self._problem = changed, problem
        self._in_trouble = False
        with GalleryReader(path, session.bundle.manifest.identity) as gallery, gallery.reading():
            self.version = gallery.version
            self.now: PrototypeClassifier | None = self._made_from(gallery)
        self._looked = time.monotonic()

    def classify(self, embeddings: Embeddings) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; all is unknown while there are no products."""
        if time.monotonic() - self._looked >= self._every:
            self._look()
        if self.now is None:
            return [NOTHING_KNOWN] * (1 if embeddings.ndim == 1 else len(embeddings))
        return self.now.classify(embeddings)

    def _look(self) -> None:
        """Take in the gallery's state, if it is new."""
        try:
            self._take()
            self._in_trouble = False
        except GalleryError as error:
            if not self._in_trouble and self._problem is not None:
                self._problem(error)
            self._in_trouble = True
        self._looked = time.monotonic()

    def _take(self) -> None:
        with GalleryReader(self._path, self._session.bundle.manifest.identity) as gallery:
            if gallery.version == self.version:
                return
            with gallery.reading():
                version, count = gallery.version, len(gallery.contents().products)
                self.now = self._made_from(gallery) if count else None
        self.version = version
        if self._changed is not None:
            self._changed(version, count)

    def _made_from(self, gallery: GalleryReader) -> PrototypeClassifier:
        return classifier_for(
            gallery, self._session, false_accept_rate=self._rate, threshold=self._threshold
        )


def classifier_for(
    gallery: GalleryReader,
    session: Session,
    *,
    false_accept_rate: float = 0.05,
    threshold: float | None = None,
) -> PrototypeClassifier:
    """Return a classifier over a gallery's products, with the bundle's centre and cohort."""
    labels, prototypes = gallery.prototypes()
    return PrototypeClassifier(
        labels,
        prototypes,
        session.bundle.centre,
        cohort_of(session.bundle),
        false_accept_rate=false_accept_rate,
        threshold=threshold,
        negatives=negatives_of(gallery),
    )


def cohort_of(bundle: Bundle) -> Cohort:
    """Return a bundle's impostors: the station's own, other photographs, or generated scenes."""
    scoring = bundle.manifest.scoring
    own = scoring.cohort_from_station
    return Cohort(
        bundle.cohort, from_station=own, photographs=own or bool(scoring.cohort_photographs)
    )


def negatives_of(gallery: GalleryReader) -> Negatives | None:
    """Return what an operator said is not a product, or None if there is no such picture."""
    kept = gallery.contents().negatives
    if not kept:
        return None
    vectors = gallery.snapshots.vectors(list(kept), gallery.model)
    return Negatives(vectors, tuple(kept.values()))

"""The model of a station: one session for all cameras, and the gallery's products now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.gallery_classifier import judged
from vision_edge.runtime.recognition.prototypes import Decision, PrototypeClassifier
from vision_edge.station.core.fair_lock import FairLock


class Model:
    """Embeds in turns and classifies with the products of the moment; used by every thread.

    Args:
        session: The session that all share.
        timed: Called with the seconds of each inference, waiting for one's turn included.

    Attributes:
        classifier: Over the gallery's products; None while there are none. It may be replaced at
            any time.
    """

    def __init__(self, session: Session, timed: Callable[[float], None] | None = None) -> None:
        self.session = session
        self.classifier: PrototypeClassifier | None = None
        self.lock = FairLock()
        self._timed = timed

    @property
    def name(self) -> str:
        """The session's name."""
        return self.session.name

    @property
    def spec(self) -> PreprocessSpec:
        """How images are prepared for it."""
        return self.session.spec

    def embed(self, images: Image) -> Embeddings:
        """Embed prepared images as `Session.embed` does, when it is one's turn."""
        began = time.monotonic()
        with self.lock:
            embeddings = self.session.embed(images)
        if self._timed is not None:
            self._timed(time.monotonic() - began)
        return embeddings

    def embed_patches(self, images: Image) -> tuple[Embeddings, Patches | None]:
        """Embed prepared images as `Session.embed_patches` does, when it is one's turn."""
        began = time.monotonic()
        with self.lock:
            both = self.session.embed_patches(images)
        if self._timed is not None:
            self._timed(time.monotonic() - began)
        return both

    def classify(
        self, embeddings: Embeddings, patches: Sequence[Patches | None] | None = None
    ) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; all is unknown while there are no products."""
        return judged(self.classifier, embeddings, patches)


class Expecting:
    """Classifies as a model does, and says whether it is the product that a source should show.

    Args:
        model: The model of the line.
        expected: Returns the product that is expected at the moment; None to identify.
    """

    def __init__(self, model: Model, expected: Callable[[], str | None]) -> None:
        self._model, self._expected = model, expected

    def classify(
        self, embeddings: Embeddings, patches: Sequence[Patches | None] | None = None
    ) -> list[Decision]:
        """Decide on float32 (N, D) embeddings."""
        return judged(self._model.classifier, embeddings, patches, self._expected())

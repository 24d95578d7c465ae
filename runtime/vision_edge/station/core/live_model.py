"""The model of a station: one session for all cameras, and the gallery's products now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.inference.session import TRITON, Session
from vision_edge.runtime.recognition.prototypes import NOTHING_KNOWN, Decision, PrototypeClassifier
from vision_edge.station.core.fair_lock import FairLock
from vision_edge.station.core.shared_batches import Both, SharedBatches

T = TypeVar("T")
GAIN_FROM_BATCHES = ("cuda", "tensorrt", "engine")
"""Providers on which a batch takes hardly longer than one picture. On a CPU it takes as long as its
pictures one after another, so that the first camera would only wait for the last."""


class Model:
    """Embeds and classifies with the products of the moment; used by every thread.

    On a GPU or a Triton server the cameras share batches, on a CPU they take turns.

    Args:
        session: The session that all share.
        timed: Called with the seconds of each inference, waiting for one's turn included.

    Attributes:
        classifier: Over the gallery's products; None while there are none. It may be replaced at
            any time.
        seen: Called with the embeddings of every decision that a source asks for; None calls
            nothing.
    """

    def __init__(self, session: Session, timed: Callable[[float], None] | None = None) -> None:
        self.session = session
        self.classifier: PrototypeClassifier | None = None
        self.seen: Callable[[Embeddings], None] | None = None
        self._lock = FairLock()
        self._batches: SharedBatches | None = None
        if session.provider in GAIN_FROM_BATCHES or session.provider.startswith(TRITON):
            self._batches = SharedBatches(session.embed_patches, rounded=session.provider == "cuda")
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
        """Embed prepared images as `Session.embed` does, in turn or together with others'."""
        if self._batches is not None:
            return self.embed_patches(images)[0]
        return self._when_free(lambda: self.session.embed(images))

    def embed_patches(self, images: Image) -> Both:
        """Embed prepared images as `Session.embed_patches` does, likewise."""
        batches = self._batches
        if batches is not None:
            return self._measured(lambda: batches.run(images))
        return self._when_free(lambda: self.session.embed_patches(images))

    def _when_free(self, embed: Callable[[], T]) -> T:
        def in_turn() -> T:
            with self._lock:
                return embed()

        return self._measured(in_turn)

    def _measured(self, embed: Callable[[], T]) -> T:
        began = time.monotonic()
        result = embed()
        if self._timed is not None:
            self._timed(time.monotonic() - began)
        return result

    def classify(
        self, embeddings: Embeddings, patches: Sequence[Patches | None] | None = None
    ) -> list[Decision]:
        """Decide on float32 (N, D) embeddings; all is unknown while there are no products."""
        seen, classifier = self.seen, self.classifier
        if seen is not None:
            seen(embeddings)
        if classifier is None:
            return [NOTHING_KNOWN] * (1 if embeddings.ndim == 1 else len(embeddings))
        return classifier.classify(embeddings, patches)

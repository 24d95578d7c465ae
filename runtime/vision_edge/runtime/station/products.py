"""The products of a station: its gallery's file, and the model that classifies with it now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery import Gallery
from vision_edge.runtime.pipeline import classifier_for
from vision_edge.runtime.prototypes import PrototypeClassifier
from vision_edge.runtime.station.model import Model
from vision_edge.runtime.station.settings import ScoringSettings

log = logging.getLogger(__name__)
POLL_SECONDS = 0.4


class Products:
    """Keeps a model's classifier as the gallery's file says, whoever changes that.

    Args:
        path: The gallery's file; made if there is none.
        model: Whose classifier is kept.
        scoring: When a product is recognised.
        changed: Called after each change, with the version and the number of products.

    Attributes:
        version: The gallery's version that the classifier knows.
        count: Registered products.
        problem: Why the gallery cannot be read now; empty if it can.
    """

    def __init__(
        self,
        path: Path,
        model: Model,
        scoring: ScoringSettings,
        changed: Callable[[int, int], None],
    ) -> None:
        self.path = path
        self.version = -1
        self.count = 0
        self.problem = ""
        self._model, self._scoring, self._changed = model, scoring, changed
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gallery", daemon=True)

    @property
    def model(self) -> Model:
        """The model of the moment."""
        return self._model

    def start(self) -> None:
        """Read the gallery, and watch it from now on.

        Raises:
            GalleryError: If the file is no gallery of this model.
        """
        with self.opened(create=True):
            pass
        self.refresh()
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)

    @contextmanager
    def opened(self, author: str | None = None, *, create: bool = False) -> Iterator[Gallery]:
        """Open the gallery for a block in this thread; call `refresh` after a change.

        Raises:
            GalleryError: If it is damaged, or another model's by now.
        """
        identity = self._model.session.bundle.manifest.identity
        with Gallery(self.path, identity, create=create, author=author) as gallery:
            yield gallery

    def refresh(self) -> None:
        """Classify with what the gallery holds now; nothing happens if nothing has changed.

        Raises:
            GalleryError: If it cannot be read.
        """
        with self._lock, self.opened() as gallery, gallery.reading():
            version = gallery.version
            if version == self.version:
                return
            count = len(gallery.contents().products)
            self._model.classifier = self._classifier(gallery, self._model) if count else None
            self.version, self.count, self.problem = version, count, ""
        self._changed(version, count)

    def _classifier(self, gallery: Gallery, model: Model) -> PrototypeClassifier:
        return classifier_for(
            gallery,
            model.session,
            false_accept_rate=self._scoring.false_accept_rate,
            threshold=self._scoring.threshold,
        )

    def _watch(self) -> None:
        """Look for other processes' changes."""
        while not self._stop.wait(POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            self.refresh()
            self.problem = ""
        except VisionEdgeError as error:
            if not self.problem:
                log.warning("%s", error.what)
            self.problem = error.what

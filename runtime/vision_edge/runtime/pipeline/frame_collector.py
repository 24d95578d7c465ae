"""Collects what a station's camera sees, quietly: embeddings of judged frames, never pictures.

What is collected calibrates *unknown* (`recognition.station_mixture`). A frame that is all but the
same as one that is kept counts as that one: an empty belt, a part that stays, a product that is
shown a hundred times. Nothing of it waits for the disk, or may fail a verdict.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Full, Queue

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.gallery.station_frames import SeenFrame
from vision_edge.runtime.pipeline.gallery_classifier import prior_of, same_picture_of
from vision_edge.runtime.recognition.product_scores import centre_of, normalise

AHEAD = 64
"""Frames that wait to be looked at; what comes while so many do is not collected."""
WRITTEN_EACH, WRITTEN_AFTER = 16, 10.0
"""So many new frames are written together, or fewer after so many seconds."""


class FrameCollector:
    """Keeps a sample of what is judged in a gallery's file. Call `close` at the end.

    Args:
        path: The gallery's file.
        bundle: What embeds for it.
        problem: Called once with what is wrong when the file cannot be written; the frames that
            were to be written are lost then, verdicts are not.
        seed: Of the lots that decide which frames stay; by default another each time.

    Attributes:
        new: Frames that were written.
    """

    def __init__(
        self,
        path: Path,
        bundle: Bundle,
        *,
        problem: Callable[[VisionEdgeError], None] | None = None,
        seed: int | None = None,
    ) -> None:
        self.new = 0
        self._path, self._model = path, bundle.manifest.identity
        self._prior, self._same = prior_of(bundle), same_picture_of(bundle)
        self._problem, self._failed = problem, False
        self._rng = np.random.default_rng(seed)
        self._known: Embeddings = np.zeros((0, self._model.embedding_dim), np.float32)
        self._identifiers: list[int] = []
        self._pending: list[SeenFrame] = []
        self._again: dict[int, int] = {}
        self._written = time.monotonic()
        self._keep = True
        self._queue: Queue[tuple[Embeddings, float] | None] = Queue(AHEAD)
        self._thread = threading.Thread(target=self._run, name="frame collector", daemon=True)
        self._thread.start()

    def offer(self, embeddings: Embeddings) -> None:
        """Collect one judged frame or part: float32 (D,), or (N, D) of which the first counts.

        Never waits and never fails.
        """
        first = np.array(embeddings if embeddings.ndim == 1 else embeddings[0], np.float32)
        try:
            self._queue.put_nowait((first, time.time()))
        except Full:
            return

    def close(self, *, keep: bool = True) -> None:
        """End, and write what is left.

        Args:
            keep: Whether to: what another model embedded is of no use to a gallery that is anew.
        """
        self._keep = keep
        self._queue.put(None)
        self._thread.join(30.0)

    def _run(self) -> None:
        self._read()
        while True:
            try:
                item = self._queue.get(timeout=WRITTEN_AFTER)
            except Empty:
                self._write()
                continue
            if item is None:
                self._write()
                return
            self._take(*item)
            late = time.monotonic() - self._written > WRITTEN_AFTER
            if late or len(self._pending) >= WRITTEN_EACH:
                self._write()

    def _take(self, embedding: Embeddings, seen: float) -> None:
        """Remember a frame, or that one that is all but the same came again."""
        if embedding.shape != self._prior.shape or not np.isfinite(embedding).all():
            return
        kept = [frame.embedding for frame in self._pending]
        others = np.concatenate([self._known, *(row[None] for row in kept)])
        centre = centre_of(others, self._prior)  # what all frames of a camera share says nothing
        likeness = normalise(others, centre) @ normalise(embedding, centre)
        nearest = int(likeness.argmax()) if len(likeness) else -1
        if nearest < 0 or likeness[nearest] < self._same:
            self._pending.append(SeenFrame(embedding, seen))
        elif nearest < len(self._identifiers):
            identifier = self._identifiers[nearest]
            self._again[identifier] = self._again.get(identifier, 0) + 1
        else:
            old = self._pending[nearest - len(self._identifiers)]
            self._pending[nearest - len(self._identifiers)] = SeenFrame(
                old.embedding, old.time, old.times + 1
            )

    def _write(self) -> None:
        self._written = time.monotonic()
        if not self._keep or not (self._pending or self._again):
            return
        try:
            with Gallery(self._path, self._model) as gallery:
                gallery.keep_frames(self._pending, self._again, self._rng)
            self.new += len(self._pending)
            self._failed = False
        except VisionEdgeError as error:
            self._fail(error)
        self._pending, self._again = [], {}
        self._read()

    def _read(self) -> None:
        """Look at what is kept by now: others may collect for the same gallery."""
        try:
            with GalleryReader(self._path, self._model) as gallery:
                kept = gallery.frames.kept(self._model)
        except VisionEdgeError as error:
            self._fail(error)
            return
        self._known, self._identifiers = kept.embeddings, kept.identifiers.tolist()

    def _fail(self, error: VisionEdgeError) -> None:
        if not self._failed and self._problem is not None:
            self._problem(error)
        self._failed = True

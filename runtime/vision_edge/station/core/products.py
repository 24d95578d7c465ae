"""The products of a station: its gallery's file, and the model that classifies with it now."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vision_edge.runtime.errors import GalleryBusyError, GalleryError, VisionEdgeError
from vision_edge.runtime.gallery.database import WAIT_S
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.history import State
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.gallery.station_frames import KeptFrames
from vision_edge.runtime.pipeline.frame_collector import FrameCollector
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.station.core.live_model import Model
from vision_edge.station.settings.station import ScoringSettings

log = logging.getLogger(__name__)
POLL_SECONDS = 0.4
CHANGE_WAIT_S, READ_WAIT_S = 3.0, 0.25
"""Seconds that a change, and a look, wait for another program that holds the gallery's file."""
TURN_WAIT_S, MOST_WAITING = 10.0, 12
"""Seconds that a change waits for those before it, and how many may wait at once: each holds one of
the server's 40 threads, of which the rest must stay for everything else."""


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
        held: Whether that is because another program holds it: what was read of it still counts.
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
        self._collector: FrameCollector | None = None
        self.held = False
        self._listed: State = {}
        self._turns = threading.BoundedSemaphore(MOST_WAITING)
        self._told = self._stamp = self._frames = ""
        self._changes: deque[tuple[int, int]] = deque(maxlen=100)
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
        with self.opened(create=True, wait_s=WAIT_S):
            pass
        self.refresh(CHANGE_WAIT_S)
        self._collect()
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)
        if self._collector is not None:
            self._collector.close()

    def _collect(self) -> None:
        """Let what the model of the moment judges be kept, from now on, unless that is off."""
        if self._collector is not None:
            self._collector.close(keep=False)
        if self._scoring.cohort:
            self._collector = FrameCollector(
                self.path, self._model.session.bundle, problem=lambda e: log.warning("%s", e.what)
            )
            self._model.seen = self._collector.offer

    @property
    def collecting(self) -> bool:
        """Whether what the cameras see is kept and has a say."""
        return self._scoring.cohort

    def seen_frames(self) -> KeptFrames:
        """Return what is kept of what the cameras saw.

        Raises:
            GalleryError: If the gallery cannot be read.
        """
        with self.opened() as gallery:
            return gallery.frames.kept(gallery.model)

    def forget_frames(self) -> int:
        """Forget what the cameras saw, and classify without; return how many frames there were.

        Raises:
            GalleryError: If the gallery cannot be written.
        """
        with self.steady(), self.opened() as gallery:
            forgotten = gallery.forget_frames()
            self._take(gallery)
        return forgotten

    @contextmanager
    def steady(self) -> Iterator[Model]:
        """Keep the model from being replaced for a block; yields it.

        Raises:
            GalleryBusyError: If too many wait for that already, or it takes too long.
        """
        self._take_turn()
        try:
            yield self._model
        finally:
            self._lock.release()

    def _take_turn(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        if not self._turns.acquire(blocking=False):
            raise _busy(f"{MOST_WAITING} others wait to change the gallery")
        try:
            if not self._lock.acquire(timeout=TURN_WAIT_S):
                raise _busy(f"others have changed the gallery for more than {TURN_WAIT_S:g} s")
        finally:
            self._turns.release()

    @contextmanager
    def opened(
        self, author: str | None = None, *, create: bool = False, wait_s: float = CHANGE_WAIT_S
    ) -> Iterator[Gallery]:
        """Open the gallery for a block in this thread; call `refresh` after a change.

        Raises:
            GalleryBusyError: If another program holds its file for longer than `wait_s` seconds.
            GalleryError: If it is damaged, or another model's by now.
        """
        identity = self._model.session.bundle.manifest.identity
        with Gallery(self.path, identity, create=create, author=author, wait_s=wait_s) as gallery:
            yield gallery

    @contextmanager
    def looked_at(self) -> Iterator[Gallery]:
        """Open the gallery for a short look at it; nobody is held up who looks while it is held.

        Raises:
            GalleryBusyError: If another program holds its file.
            GalleryError: If it is damaged, or another model's by now.
        """
        if self.held:
            raise _busy("another program holds the gallery")
        try:
            with self.opened(wait_s=READ_WAIT_S) as gallery:
                yield gallery
        except GalleryBusyError:
            self.held = True
            raise

    def listed(self) -> tuple[int, State]:
        """Return the gallery's version, and the snapshots of each product.

        While another program holds the file, it is what was last read of it.

        Raises:
            GalleryError: If it is damaged, or another model's by now.
        """
        try:
            with self.looked_at() as gallery, gallery.reading():
                return gallery.version, gallery.state()
        except GalleryBusyError:
            return self.version, self._listed

    @contextmanager
    def changing(self, author: str | None = None) -> Iterator[Gallery]:
        """Open the gallery for a change; it counts at the block's end.

        Raises:
            GalleryError: If it cannot be opened or read.
        """
        with self.steady(), self.opened(author) as gallery:
            before = gallery.version
            yield gallery
            self._take(gallery)
            if gallery.version > before:
                self._changes.append((before, gallery.version))
        self._tell()

    def undo(self, author: str | None = None) -> tuple[int, int]:
        """Take the last change back: all that it registered at once, or else the last version.

        Again, it takes back the change before. What others changed is taken back by one version.

        Returns:
            The version returned to, and the new version that is like it.

        Raises:
            GalleryError: If there is nothing to take back.
        """
        with self.steady(), self.opened(author) as gallery:
            version = gallery.version
            if version == 0:
                raise GalleryError("the gallery has no history", fix="register something first")
            target = version - 1
            if self._changes and self._changes[-1][1] == version:
                target = self._changes.pop()[0]
            new = gallery.rollback(target)
            if self._changes and self._changes[-1][1] == target:
                self._changes[-1] = (self._changes[-1][0], new)
            self._take(gallery)
        self._tell()
        return target, new

    def refresh(self, wait_s: float = CHANGE_WAIT_S) -> None:
        """Classify with what the gallery holds now; nothing happens if nothing has changed.

        Raises:
            GalleryBusyError: If another program holds its file for longer than `wait_s` seconds.
            GalleryError: If it cannot be read.
        """
        with self.steady(), self.opened(wait_s=wait_s) as gallery:
            self._take(gallery)
        self._tell()

    def switch(self, model: Model, author: str) -> None:
        """Go over to another model: embed every snapshot anew, and classify with that.

        The gallery changes in one transaction, and keeps the former embeddings; until then the
        former model goes on. A line's passage under way is judged by the former.

        Raises:
            VisionEdgeError: If a snapshot cannot be embedded; all stays as it was.
        """
        made = self._embedded(model)

        def embed(jpeg: bytes, origin: str) -> Snapshot:
            known = made.get(_digest(jpeg))
            return kept_snapshot(model, jpeg, origin) if known is None else known

        with self.steady():
            with Gallery(self.path, None, author=author, wait_s=CHANGE_WAIT_S) as gallery:
                gallery.reembed(model.session.bundle.manifest.identity, embed)
            self._model, self._stamp = model, ""
            self.refresh()
            self._collect()

    def _embedded(self, model: Model) -> dict[str, Snapshot]:
        """Return the gallery's pictures as another model's snapshots, by their hash."""
        made = {}
        with self.opened() as gallery:
            events = gallery.events()
            for identifier in {e.snapshot for e in events if e.snapshot is not None}:
                jpeg = gallery.snapshots.jpeg(identifier)
                name = f"{self.path}, snapshot {identifier}"
                made[_digest(jpeg)] = kept_snapshot(model, jpeg, name)
        return made

    def _take(self, gallery: Gallery) -> None:
        """Take in the state of an open gallery, if it is new."""
        with gallery.reading():
            version, stamp = gallery.version, gallery.stamp
            frames = gallery.frames.stamp(gallery.model) if self._scoring.cohort else ""
            if (stamp, frames) == (self._stamp, self._frames):
                return
            listed = gallery.state()
            self._model.classifier = self._classifier(gallery, self._model) if listed else None
        self.version, self.count, self._stamp, self._frames = version, len(listed), stamp, frames
        self._listed = listed

    def _tell(self) -> None:
        if self._stamp != self._told:
            self._told = self._stamp
            self._changed(self.version, self.count)

    def _classifier(self, gallery: Gallery, model: Model) -> PrototypeClassifier:
        return classifier_for(
            gallery,
            model.session,
            false_accept_rate=self._scoring.false_accept_rate,
            threshold=self._scoring.threshold,
            own_frames=self._scoring.cohort,
        )

    def _watch(self) -> None:
        """Look for other processes' changes."""
        while not self._stop.wait(POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        if not self._lock.acquire(blocking=False):
            return  # someone changes it, and tells what they find
        try:
            self.refresh(READ_WAIT_S)
            self.problem, self.held = "", False
        except VisionEdgeError as error:
            if not self.problem:
                log.warning("%s", error.what)
            self.problem, self.held = error.what, isinstance(error, GalleryBusyError)
        finally:
            self._lock.release()


def _busy(why: str) -> GalleryBusyError:
    return GalleryBusyError(f"{why}; nothing was changed", fix="try again in a moment")


def _digest(jpeg: bytes) -> str:
    return hashlib.sha256(jpeg).hexdigest()


def fingerprint_of(gallery: Path) -> str | None:
    """Return the fingerprint of the model that a gallery belongs to; None if there is no file.

    Raises:
        GalleryError: If the file is no gallery.
    """
    if not gallery.exists():
        return None
    with GalleryReader(gallery) as opened:
        return opened.model.fingerprint

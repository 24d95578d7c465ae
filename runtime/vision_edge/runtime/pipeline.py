"""The pipeline: frames to verdicts, and snapshots into the gallery.

Decoding and resizing run ahead in one thread, so that the session never waits for a file, and the
session's own time is what bounds the rate.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Generic, TypeVar

from vision_edge.runtime.bundle import Bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery import Gallery
from vision_edge.runtime.open_set import Cohort
from vision_edge.runtime.preprocess import Image, prepare
from vision_edge.runtime.prototypes import Classifier, Negatives, PrototypeClassifier
from vision_edge.runtime.registration import Picture, read_picture, snapshot_from
from vision_edge.runtime.session import Embedder, Session
from vision_edge.runtime.snapshots import Snapshot
from vision_edge.runtime.sources import Frame, Source
from vision_edge.runtime.verdict import Verdict

T = TypeVar("T")
_AHEAD = 2
_END = object()


@dataclass
class RunStatistics:
    """What a run did: counts, and seconds spent."""

    frames: int = 0
    stale: int = 0
    session_seconds: float = 0.0
    seconds: float = 0.0


def classifier_for(
    gallery: Gallery,
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


def negatives_of(gallery: Gallery) -> Negatives | None:
    """Return what an operator said is not a product, or None if there is no such picture."""
    kept = gallery.contents().negatives
    if not kept:
        return None
    vectors = gallery.snapshots.vectors(list(kept), gallery.model)
    return Negatives(vectors, tuple(kept.values()))


def verdicts(
    source: Source,
    embedder: Embedder,
    classifier: Classifier,
    *,
    max_age_ms: float = 1000.0,
    statistics: RunStatistics | None = None,
) -> Iterator[tuple[Frame, Verdict]]:
    """Give a verdict on each frame.

    Args:
        source: Where frames come from. Of a live source only fresh frames are judged.
        embedder: A session.
        classifier: The products to tell apart.
        max_age_ms: A live frame older than this gets no verdict.
        statistics: Filled in along the way.

    Yields:
        Each frame with its verdict, in order.
    """
    counts = statistics or RunStatistics()
    started = time.monotonic()
    for frame, prepared in _prepared(source, embedder):
        began = time.monotonic()
        embedding = embedder.embed(prepared[None])
        counts.session_seconds += time.monotonic() - began
        (decision,) = classifier.classify(embedding)
        age_ms = (time.monotonic() - frame.captured) * 1000.0
        counts.seconds = time.monotonic() - started
        if source.live and age_ms > max_age_ms:
            counts.stale += 1
            continue
        counts.frames += 1
        yield (
            frame,
            Verdict(datetime.now(timezone.utc), frame.source, frame.number, age_ms, decision),
        )


def _prepared(source: Source, embedder: Embedder) -> Iterator[tuple[Frame, Image]]:
    """Prepare frames: ahead of the session for files, on demand for a live source.

    A live source has its own reader thread, and preparing ahead would only age its frames.
    """
    pairs = ((frame, prepare(frame.image, embedder.spec)) for frame in source)
    return pairs if source.live else iter(_Ahead(pairs))


class _Ahead(Generic[T]):
    """Iterates over `items` in a thread of its own, at most `_AHEAD` items ahead."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(_AHEAD)
        self._stop = threading.Event()

    def __iter__(self) -> Iterator[T]:
        thread = threading.Thread(target=self._fill, name="prepare ahead", daemon=True)
        thread.start()
        try:
            while (item := self._queue.get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item  # type: ignore[misc]
        finally:
            self._stop.set()
            while thread.is_alive():  # unblock a put that waits for room
                self._drain()
                thread.join(timeout=0.01)

    def _fill(self) -> None:
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stop.is_set():
                    return
            self._queue.put(_END)
        except BaseException as error:
            self._queue.put(error)

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()


def snapshot_of(image: Image, embedder: Embedder, origin: str) -> Snapshot:
    """Make a snapshot of a frame, uint8 (H, W, 3) BGR, without any gate.

    Args:
        image: The frame.
        embedder: A session.
        origin: Where the image came from.
    """
    return snapshot_from(Picture(image, None, origin, ()), embedder)


def register(
    gallery: Gallery, embedder: Embedder, label: str, frames: Sequence[Path | Frame]
) -> int:
    """Register image files or frames as one product: all of them, or none.

    Args:
        gallery: An open gallery of the embedder's model.
        embedder: A session.
        label: The product's name.
        frames: Image files, or frames of a source.

    Returns:
        The gallery's new version.

    Raises:
        VisionEdgeError: If an image is unreadable or the gallery refuses it.
    """
    return gallery.add(label, snapshots_of(embedder, frames))


def snapshots_of(embedder: Embedder, frames: Sequence[Path | Frame]) -> list[Snapshot]:
    """Make snapshots of image files, or frames of a source, without any gate.

    Raises:
        ImageError: If one of the files is not a readable image.
    """
    return [snapshot_from(read_picture(item), embedder) for item in frames]


def take_frame(source: Source, settle: int = 5, after: float = 0.0) -> Frame:
    """Take one frame of a source; of a live one, after `settle` frames for exposure to settle.

    Args:
        source: The source.
        settle: Frames of a live source to let pass.
        after: Time of `time.monotonic` before which no frame counts: when a key was pressed.

    Raises:
        VisionEdgeError: If the source ends before.
    """
    skip = settle if source.live else 0
    for index, frame in enumerate(source):
        if index >= skip and frame.captured >= after:
            return frame
    raise VisionEdgeError(f"{source.name}: no frame to register", fix="check the source")

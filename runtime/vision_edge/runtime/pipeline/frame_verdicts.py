"""The pipeline: frames to verdicts, and snapshots into the gallery.

Decoding and resizing run ahead in one thread, so that the session never waits for a file, and the
session's own time is what bounds the rate.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Generic, TypeVar

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.pipeline.frame_views import FrameViews, ViewSettings
from vision_edge.runtime.recognition.prototypes import Classifier
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.frame import Frame, Source

T = TypeVar("T")
_AHEAD = 2
_END = object()


@dataclass
class RunStatistics:
    """What a run did: counts, and seconds spent.

    `fewer_views` frames had one view for three, and `empty` ones no part wholly in view.
    `session_seconds` were spent on `judged` pictures: frames, or parts in them.
    """

    frames: int = 0
    stale: int = 0
    session_seconds: float = 0.0
    seconds: float = 0.0
    fewer_views: int = 0
    judged: int = 0
    empty: int = 0


def verdicts(
    source: Source,
    embedder: Embedder,
    classifier: Classifier,
    *,
    max_age_ms: float = 1000.0,
    views: ViewSettings | None = None,
    statistics: RunStatistics | None = None,
) -> Iterator[tuple[Frame, Verdict]]:
    """Give a verdict on each frame.

    Args:
        source: Where frames come from. Of a live source only fresh frames are judged.
        embedder: A session.
        classifier: The products to tell apart.
        max_age_ms: A live frame older than this gets no verdict.
        views: How many views a frame is embedded by; one by default.
        statistics: Filled in along the way.

    Yields:
        Each frame with its verdict, in order.
    """
    counts = statistics or RunStatistics()
    started = time.monotonic()
    frame_views = FrameViews(views)
    for frame, prepared in _prepared(source, embedder, frame_views):
        began = time.monotonic()
        [(embedding, patches)] = frame_views.embed(embedder, [prepared])
        counts.judged += 1
        counts.fewer_views += len(prepared) < frame_views.asked
        counts.session_seconds += time.monotonic() - began
        (decision,) = classifier.classify(embedding, [patches])
        age_ms = (time.monotonic() - frame.captured) * 1000.0
        counts.seconds = time.monotonic() - started
        if source.live and age_ms > max_age_ms:
            counts.stale += 1
            continue
        counts.frames += 1
        now = datetime.now(timezone.utc)
        yield (
            frame,
            Verdict(now, frame.source, frame.number, age_ms, decision, embedding=embedding),
        )


def _prepared(
    source: Source, embedder: Embedder, views: FrameViews
) -> Iterator[tuple[Frame, Image]]:
    """Prepare frames: ahead of the session for files, on demand for a live source.

    A live source has its own reader thread, and preparing ahead would only age its frames. One
    that waits for files to come would keep a thread waiting that nobody can end.
    """
    pairs = ((frame, views.prepared(frame.image, embedder.spec)) for frame in source)
    waits = source.live or getattr(source, "endless", False)
    return pairs if waits else iter(_Ahead(pairs))


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

"""What lies between a source and the verdicts of a station: pace, loop, view, and a gate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.sources.files import ImageSource
from vision_edge.runtime.sources.followed import FollowedFolder
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.live import LiveSource, LiveState
from vision_edge.runtime.sources.opening import open_source
from vision_edge.runtime.sources.paced import PacedSource
from vision_edge.runtime.sources.view import View, ViewedSource
from vision_edge.station.settings.station import SourceSettings

_PICTURES_A_SECOND = 2.0


def opened(
    settings: SourceSettings,
    on_error: Callable[[ImageError], None],
    on_state: Callable[[LiveState, str], None],
) -> Source:
    """Open a source as its settings say: looped and paced if it is a file, and upright.

    Args:
        settings: Of the source.
        on_error: Called with each unreadable picture of a folder.
        on_state: Called with each new state of a camera or stream.

    Raises:
        SourceError: If it cannot be opened; a camera that does not answer is waited for instead.
    """

    def plain() -> Source:
        if settings.follow:
            return FollowedFolder(Path(settings.address), on_error, settings.reading)
        source = open_source(
            settings.address,
            on_error,
            live=settings.live,
            on_state=on_state,
            reading=settings.reading,
        )
        if source.live or not (settings.realtime or settings.loop or settings.fps):
            return source
        pictures = _PICTURES_A_SECOND if isinstance(source, ImageSource) else 25.0
        source.fps = settings.fps or source.fps or pictures
        return PacedSource(source)

    source = LoopedSource(plain) if settings.loop else plain()
    upright = View(settings.rotate, settings.flip)
    return source if upright.changes_nothing else ViewedSource(source, upright)


def camera_of(source: Source | None) -> LiveSource | None:
    """Return the camera or stream under a source, if there is one."""
    while isinstance(source, ViewedSource):
        source = source.source
    return source if isinstance(source, LiveSource) else None


class LoopedSource:
    """A file source that starts again at its end; its frames are counted on.

    Args:
        opener: Opens the file.

    Raises:
        SourceError: If it cannot be opened.
    """

    live = False

    def __init__(self, opener: Callable[[], Source]) -> None:
        self._opener = opener
        self._source = opener()
        self.name = self._source.name
        self.fps = self._source.fps

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames without end; none at all if the source has none."""
        base = 0
        while True:
            number = -1
            for frame in self._source:
                number = frame.number
                yield replace(frame, number=base + number)
            self._source.close()
            if number < 0:
                return
            base += number + 1
            self._source = self._opener()

    def close(self) -> None:
        """Close the file."""
        self._source.close()


class Gate:
    """Passes a source's frames on until what judges them changes; the next goes on from there.

    Args:
        source: Where frames come from.
        current: Returns what judges them at the moment: another object whenever that changes.
        seen: Called with each frame; returns it as it is judged.
        stopping: Ends it for good.
        max_rate: Frames a second that are passed at most; the others are seen, and no more.
        spared: Called for each of those others.

    Attributes:
        over: Whether the source has ended, or is to end.
    """

    def __init__(
        self,
        source: Source,
        current: Callable[[], object],
        seen: Callable[[Frame], Frame],
        stopping: threading.Event,
        max_rate: float | None = None,
        spared: Callable[[], object] = lambda: None,
    ) -> None:
        self._period = 0.0 if max_rate is None else 1.0 / max_rate
        self._due = float("-inf")
        self.name, self.live, self.fps = source.name, source.live, source.fps
        self.endless = bool(getattr(source, "endless", False))
        self.over = False
        self._frames = iter(source)
        self._current, self._seen, self._stopping = current, seen, stopping
        self._spared = spared
        self._model: object = None
        self._pending: Frame | None = None

    def with_model(self, model: object) -> Gate:
        """Return itself, to be passed while `model` is the current one."""
        self._model = model
        return self

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames while the model stays."""
        while not self._stopping.is_set():
            frame = self._pending or next(self._frames, None)
            self._pending = None
            if frame is None:
                break
            if self._current() is not self._model:
                self._pending = frame
                return
            shown = self._seen(frame)
            if self._is_due(frame.captured):
                yield shown
            else:
                self._spared()
        self.over = True

    def _is_due(self, captured: float) -> bool:
        """Whether a frame's turn has come; a late one does not put the next off."""
        late = captured - self._due
        if late < 0:
            return False
        self._due = (self._due if late < self._period else captured) + self._period
        return True

    def close(self) -> None:
        """Nothing to release; the source is its opener's."""

"""The camera assistant of a station's sources: looks only while somebody asks."""

from __future__ import annotations

import copy
import threading
import time
from dataclasses import dataclass, field

from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.pipeline.camera_check import CameraCheck, CameraReport
from vision_edge.station.core.errors import NoFrameError
from vision_edge.station.core.source_line import Line

FORGET_SECONDS = 30.0
"""After so long without a question the next one begins anew."""


@dataclass
class _Watched:
    """What is under way for one source."""

    check: CameraCheck
    locator: Locator | None
    asked: float
    looked: float | None = None
    seen: tuple[int, float] | None = None
    rate: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class CameraChecks:
    """Keeps a check for each source that somebody looks at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}

    def report(self, line: Line) -> CameraReport:
        """Look at a source's latest frame, and return what the last ones tell.

        Raises:
            NoFrameError: If it has shown nothing yet.
        """
        watched = self._of(line)
        frame = line.latest
        if frame is None:
            raise NoFrameError(f"source {line.name!r} has shown nothing yet", fix="wait for it")
        with watched.lock:
            self._pace(watched, line.frames, frame.captured)
            if watched.looked != frame.captured:
                watched.check.look(frame, rate=watched.rate)
                watched.looked = frame.captured
            report = watched.check.report()
        assert report is not None
        return report

    def _of(self, line: Line) -> _Watched:
        now = time.monotonic()
        with self._lock:
            watched = self._watched.get(line.name)
            known = watched is not None and watched.locator is line.locator
            if watched is None or not known or now - watched.asked > FORGET_SECONDS:
                locator = line.locator
                # a copy: the line's own follows the scene in the line's thread
                presence = copy.deepcopy(locator) if isinstance(locator, Presence) else None
                watched = _Watched(CameraCheck(presence, every_frame=False), locator, now)
                self._watched[line.name] = watched
            watched.asked = now
            return watched

    @staticmethod
    def _pace(watched: _Watched, frames: int, captured: float) -> None:
        """Note how many frames a second the source brings, of which few are looked at here."""
        watched.seen = watched.seen or (frames, captured)
        before, at = watched.seen
        if captured - at >= 1.0:
            watched.rate = (frames - before) / (captured - at)
            watched.seen = (frames, captured)

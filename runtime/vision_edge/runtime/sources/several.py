"""Several cameras as one source."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.live import LiveSource
from vision_edge.runtime.sources.view import ViewedSource


class SeveralCameras:
    """Several live sources as one: the latest frame of each, in turns, so that none starves.

    Args:
        cameras: Live sources that share `condition`, at least one.
        condition: Notified by each when it has a frame.
    """

    live = True
    fps: float | None = None

    def __init__(self, cameras: Sequence[LiveSource], condition: threading.Condition) -> None:
        self.cameras = tuple(cameras)
        self.name = ", ".join(camera.name for camera in cameras)
        self._condition = condition
        self._closing = False

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames; `Frame.source` says whose, and numbers count for each camera.

        Raises:
            SourceError: If one of them gives up.
        """
        last = [-1] * len(self.cameras)
        turn = 0
        while not self._closing:
            for camera in self.cameras:
                camera.announce()
            turn = self._next(turn, last)
            frame = self.cameras[turn].newer_than(last[turn])
            if frame is not None:
                last[turn] = frame.number
                yield frame

    def close(self) -> None:
        """Close all of them."""
        self._closing = True
        for camera in self.cameras:
            camera.close()

    def _next(self, turn: int, last: Sequence[int]) -> int:
        """Return the next camera after `turn` that has a frame; wait a little for one."""
        count = len(self.cameras)
        order = [(turn + step) % count for step in range(1, count + 1)]
        ready = [index for index in order if self.cameras[index].newer_than(last[index])]
        if not ready:
            with self._condition:
                self._condition.wait(0.05)
        return ready[0] if ready else turn


def cameras_of(source: Source) -> tuple[LiveSource, ...]:
    """Return the cameras and streams under a source; none of files."""
    while isinstance(source, ViewedSource):
        source = source.source
    if isinstance(source, SeveralCameras):
        return source.cameras
    return (source,) if isinstance(source, LiveSource) else ()

"""Sources made of others: several at once, or a file at its own rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from vision_edge.runtime.addresses import live_address
from vision_edge.runtime.errors import ImageError, SourceError
from vision_edge.runtime.live import LiveSettings, LiveSource, LiveState
from vision_edge.runtime.sources import Frame, Source, open_source


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


class PacedSource:
    """A file source that delivers its frames at their own rate, as a camera would.

    Args:
        source: A file source with a rate.

    Raises:
        SourceError: If it has none.
    """

    live = False

    def __init__(self, source: Source) -> None:
        if source.live or source.fps is None:
            raise SourceError(
                f"{source.name}: has no frame rate of its own to be played at",
                fix="leave --realtime out, or give a video file",
            )
        self.source = source
        self.name = source.name
        self.fps: float | None = source.fps
        self._period = 1.0 / source.fps

    def __iter__(self) -> Iterator[Frame]:
        """Deliver every frame, none before its time."""
        started = time.monotonic()
        for index, frame in enumerate(self.source):
            time.sleep(max(0.0, started + index * self._period - time.monotonic()))
            yield Frame(frame.image, frame.source, frame.number, time.monotonic())

    def close(self) -> None:
        """Close the source."""
        self.source.close()


def open_sources(
    specs: Sequence[str],
    on_error: Callable[[ImageError], None] | None = None,
    *,
    live: LiveSettings | None = None,
    on_state: Callable[[str, LiveState, str], None] | None = None,
) -> Source:
    """Open one source, or several cameras as one.

    Args:
        specs: Sources as `open_source` takes them, at least one; several must all be live.
        on_error: Called with each unreadable image.
        live: How cameras and streams behave.
        on_state: Called with a camera's name, its new state and the reason.

    Raises:
        SourceError: If one cannot be opened, or several are not all live.
    """
    if len(specs) == 1:
        return _open_one(specs[0], on_error, live, on_state)
    cameras = [live_address(spec) for spec in specs]
    if any(camera is None for camera in cameras):
        raise SourceError(
            f"of several sources each must be a camera or stream; got {', '.join(specs)}",
            fix="give one file or folder, or only cameras and streams",
        )
    condition = threading.Condition()
    opened: list[LiveSource] = []
    try:
        for camera in cameras:
            assert camera is not None
            told = _told(on_state, camera[1])
            opened.append(LiveSource(*camera, live, on_state=told, condition=condition))
    except BaseException:
        for source in opened:
            source.close()
        raise
    return SeveralCameras(opened, condition)


def _open_one(
    spec: str,
    on_error: Callable[[ImageError], None] | None,
    live: LiveSettings | None,
    on_state: Callable[[str, LiveState, str], None] | None,
) -> Source:
    camera = live_address(spec)
    told = _told(on_state, camera[1] if camera else spec)
    return open_source(spec, on_error, live=live, on_state=told)


def _told(
    on_state: Callable[[str, LiveState, str], None] | None, name: str
) -> Callable[[LiveState, str], None] | None:
    if on_state is None:
        return None
    return lambda state, reason: on_state(name, state, reason)

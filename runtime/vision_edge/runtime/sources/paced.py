"""A file played at its own rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources.frame import Frame, Source

if TYPE_CHECKING:
    pass


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

"""A source whose frames somebody else looks at, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vision_edge.runtime.sources.frame import Frame, Source


class TappedSource:
    """Passes a source's frames on, and shows each to a tap.

    Args:
        source: Where the frames come from.

    Attributes:
        tap: Called with each frame before it is passed on; None: nobody looks.
        endless: Whether the source waits for what has not come yet.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name, self.live, self.fps = source.name, source.live, source.fps
        self.endless = bool(getattr(source, "endless", False))
        self.tap: Callable[[Frame], object] | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the source's frames."""
        for frame in self.source:
            if self.tap is not None:
                self.tap(frame)
            yield frame

    def close(self) -> None:
        """Close the source."""
        self.source.close()

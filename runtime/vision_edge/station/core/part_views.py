"""What is in view of a source now: its parts, told to pages a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vision_edge.runtime.recognition.verdict import LocatedPart
from vision_edge.runtime.sources.frame import Frame

EVERY = 0.15
"""Seconds from one telling to the next, at least."""


class PartViews:
    """Keeps the parts that are in view, and tells of them.

    Args:
        source: The source's name.
        told: Called with the parts as JSON values, not too often; with none once they are gone.
    """

    def __init__(self, source: str, told: Callable[[dict[str, Any]], None]) -> None:
        self._source, self._told = source, told
        self._last = 0.0
        self._any = False
        self.latest: dict[str, Any] = self._document(0, (0, 0), [])

    def seen(self, frame: Frame, parts: list[LocatedPart]) -> None:
        """Take the parts of a frame; called in the line's thread."""
        size = (frame.image.shape[1], frame.image.shape[0])
        self.latest = self._document(frame.number, size, parts)
        now = time.monotonic()
        due = now - self._last >= EVERY and (parts or self._any)
        if due or (self._any and not parts):
            self._last, self._any = now, bool(parts)
            self._told(self.latest)

    def _document(
        self, number: int, size: tuple[int, int], parts: list[LocatedPart]
    ) -> dict[str, Any]:
        return {
            "source_name": self._source,
            "frame": number,
            "size": list(size),
            "parts": [part.document() for part in parts],
        }

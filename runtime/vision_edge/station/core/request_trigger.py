"""The command trigger of a station: a request from its API or a wire, instead of a line of text."""

from __future__ import annotations

import threading

from vision_edge.runtime.pipeline.triggers import CommandTrigger


class RequestTrigger(CommandTrigger):
    """A part when `request` was called.

    Args:
        frames: Frames to judge after each request.
    """

    def __init__(self, frames: int = 5) -> None:
        super().__init__(frames=frames)
        self._requested = threading.Event()

    def request(self) -> None:
        """Ask for one verdict; from any thread."""
        self._requested.set()

    def _asked(self) -> bool:
        asked = self._requested.is_set()
        self._requested.clear()
        return asked

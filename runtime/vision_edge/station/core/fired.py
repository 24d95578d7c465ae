"""A camera that takes a picture on command: each command has one frame, each frame its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.pipeline.triggers import CommandTrigger, Look
from vision_edge.runtime.recognition.part_consensus import Method
from vision_edge.runtime.recognition.part_tracking import PartSettings
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.station.core.feeds import camera_of


class FiredTrigger(CommandTrigger):
    """A part in every frame, since none comes without a command.

    Args:
        locator: Finds the part that the picture is cut to, as `CommandTrigger` does; or None.
    """

    def __init__(self, locator: Locator | None) -> None:
        super().__init__(frames=1)
        self.locator = locator

    def look(self, frame: Frame) -> Look:
        """Return the whole picture, as a part of its own."""
        return replace(super().look(frame), last=True)

    def _asked(self) -> bool:
        return True


def fired_parts(method: Method) -> PartSettings:
    """Return how parts are judged of which there is one frame."""
    return PartSettings(method, "leave", least=1)


def bound(told: Iterator[tuple[Frame, Verdict]]) -> Iterator[tuple[Frame, Verdict]]:
    """Yield verdicts with the trigger that their frame answers."""
    for frame, verdict in told:
        yield frame, replace(verdict, trigger=frame.number)


def fire(source: Source | None, name: str) -> int:
    """Have a camera take a picture; return its frame's number.

    Raises:
        SourceError: If it is not connected, or takes no command.
    """
    camera = camera_of(source)
    if camera is None:
        raise SourceError(f"source {name!r} is not connected", fix="wait for its camera")
    return camera.fire()

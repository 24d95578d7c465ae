"""A source's scene, watched while its parts are judged: what has changed in silence.

Only triggers that tell the parts from the scene can have it watched: `presence` and `motion`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vision_edge.runtime.pipeline.scene_watch import Change, SceneWatch
from vision_edge.runtime.pipeline.triggers import Look, Trigger
from vision_edge.runtime.recognition.part_consensus import Box
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.wire import Record

log = logging.getLogger(__name__)


class SceneGuard:
    """Watches one source; from any thread.

    Args:
        name: The source.
        told: Called when a change is told, is over, or is acknowledged.
    """

    def __init__(self, name: str, told: Callable[[], None]) -> None:
        self._name, self._told = name, told
        self._watch, self._lock = SceneWatch(), threading.Lock()
        self._failed = False

    @property
    def change(self) -> Change | None:
        """What has changed, while it is so and nobody has acknowledged it."""
        return self._watch.change

    def document(self) -> Record | None:
        """Return the change as JSON values."""
        change = self.change
        if change is None:
            return None
        return {"kind": change.kind, "message": change.message, "fix": change.fix}

    def watching(self, trigger: Trigger) -> Trigger:
        """Return a trigger that has the scene watched, without the parts it sees."""
        return _Watched(trigger, self)

    def look(self, frame: Frame, parts: tuple[Box, ...] = ()) -> None:
        """Take a look; a watch that fails must not stop the verdicts."""
        try:
            with self._lock:
                news = self._watch.look(frame.image, frame.captured, parts)
        except Exception:
            if not self._failed:
                log.exception("%s: its scene cannot be watched", self._name)
            self._failed = True
            return
        if news:
            change = self.change
            said = "the scene is as it was" if change is None else f"{change.message}; {change.fix}"
            log.warning("%s: %s", self._name, said)
            self._told()

    def part(self, record: Record) -> None:
        """Note a part's verdict."""
        with self._lock:
            self._watch.part(float(record["score"]))

    def acknowledge(self) -> None:
        """Take the scene of now for the right one."""
        with self._lock:
            self._watch.acknowledge()
        self._told()


class _Watched:
    """A trigger whose looks are watched."""

    def __init__(self, trigger: Trigger, guard: SceneGuard) -> None:
        self._trigger, self._guard = trigger, guard

    def look(self, frame: Frame) -> Look:
        """Return what the trigger sees."""
        look = self._trigger.look(frame)
        boxes = tuple(part.box for part in look.parts if part.box is not None)
        if len(boxes) == len(look.parts):  # a part that fills the picture hides the scene
            self._guard.look(frame, boxes)
        return look

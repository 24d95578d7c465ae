"""Triggers: when is there a part to judge, and when is it gone?

Each looks at every frame and returns the picture to judge, or None where there is no part (wholly)
in view. A part's passage ends when it was out of view for some frames, or when the trigger says so.
"""

from __future__ import annotations

import select
import sys
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.presence import Presence, crop_around
from vision_edge.runtime.sources.frame import Frame

_WORK_SIDE = 120


@dataclass(frozen=True)
class Look:
    """What a trigger makes of a frame.

    Attributes:
        image: What to judge, uint8 (H, W, 3) BGR, or None where no part is wholly in view.
        ends: Whether the passage under way is over before this frame.
    """

    image: Image | None
    ends: bool = False


class Trigger(Protocol):
    """Decides which frames show a part."""

    def look(self, frame: Frame) -> Look:
        """Look at the next frame of one source."""


class PresenceTrigger:
    """A part is what differs from the empty scene; the picture is cut to it.

    Args:
        presence: Knows the empty scene.
    """

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def look(self, frame: Frame) -> Look:
        """Return the part, where it is wholly in view."""
        found = self._presence.find(frame.image)
        if found is None or not found.complete:
            return Look(None)
        return Look(crop_around(frame.image, found.box))


class MotionTrigger:
    """A part is there while the picture moves.

    Args:
        share: Share of the picture that must have changed since the last frame.
        level: Grey levels that count as a change.
    """

    def __init__(self, share: float = 0.01, level: float = 12.0) -> None:
        self._share = share
        self._level = level
        self._last: NDArray[np.float32] | None = None

    def look(self, frame: Frame) -> Look:
        """Return the whole picture, while it moves."""
        now, last = _reduced(frame.image), self._last
        self._last = now
        if last is None or last.shape != now.shape:
            return Look(None)
        changed = float((np.abs(now - last) > self._level).mean())
        return Look(frame.image if changed >= self._share else None)


class IntervalTrigger:
    """A part every so many seconds, whatever is in view.

    Args:
        seconds: Length of a passage.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started: float | None = None

    def look(self, frame: Frame) -> Look:
        """Return the whole picture; begin anew after each interval."""
        started = self._started
        over = started is not None and frame.captured - started >= self._seconds
        if started is None or over:
            self._started = frame.captured
        return Look(frame.image, ends=over)


class CommandTrigger:
    """A part when a line comes in: from a light barrier, a PLC's gateway, a person's Enter.

    Args:
        stream: Where lines come from; each asks for one verdict.
        frames: Frames to judge after each line.
    """

    def __init__(self, stream: TextIO = sys.stdin, frames: int = 5) -> None:
        self._stream: TextIO | None = stream
        self._frames = frames
        self._left = 0

    def look(self, frame: Frame) -> Look:
        """Return the whole picture for the frames that were asked for."""
        asked = self._asked()
        if asked:
            self._left = self._frames
        wanted = self._left > 0
        self._left = max(0, self._left - 1)
        return Look(frame.image if wanted else None, ends=asked or not wanted)

    def _asked(self) -> bool:
        """Whether a line has come in since the last frame; several count as one."""
        asked = False
        while self._stream is not None and select.select([self._stream], [], [], 0)[0]:
            line = self._stream.readline()
            if not line:  # the other side has closed
                self._stream = None
                break
            asked = True
        return asked


def _reduced(image: Image) -> NDArray[np.float32]:
    """Return the picture small, grey and smooth: float32 (h, w)."""
    cv2: Any = require("cv2")
    scale = _WORK_SIDE / min(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (0, 0), 1.2)
    reduced: NDArray[np.float32] = grey.astype(np.float32)
    return reduced

"""Triggers: when is there a part to judge, and when is it gone?

Each looks at every frame and returns the parts in view, with the picture to judge of those that are
wholly in view. A part is gone when it was out of view for some time, or when the trigger says so.
"""

from __future__ import annotations

import math
import select
import sys
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.locating import Locator, most_prominent
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.part_outlines import Box
from vision_edge.runtime.recognition.part_consensus import Method
from vision_edge.runtime.recognition.part_tracking import PartSettings, Report
from vision_edge.runtime.sources.frame import Frame

_WORK_SIDE = 120


@dataclass(frozen=True)
class View:
    """One part in view.

    Attributes:
        image: What to judge, uint8 (H, W, 3) BGR; None where the part is not wholly in view.
        box: Where it lies in the frame; None for the whole picture.
    """

    image: Image | None
    box: Box | None = None


@dataclass(frozen=True)
class Look:
    """What a trigger makes of a frame.

    Attributes:
        parts: The parts in view; none in an empty scene.
        ends: Whether what is under way is over before this frame.
        last: Whether it is over with this frame.
    """

    parts: tuple[View, ...] = ()
    ends: bool = False
    last: bool = False


def part_settings(
    trigger: str | None, method: Method = "mean", report: Report = "settled"
) -> PartSettings:
    """Return how the parts of a trigger are judged: an interval always by all of its frames."""
    if trigger == "interval":
        return PartSettings(method, "leave", most=math.inf)
    return PartSettings(method, report)


class Trigger(Protocol):
    """Decides which frames show a part."""

    def look(self, frame: Frame) -> Look:
        """Look at the next frame of one source."""


class PresenceTrigger:
    """Parts are what a locator finds; the picture is cut to each.

    Args:
        locator: Finds parts: by the empty scene, or by a detector.
    """

    def __init__(self, locator: Locator) -> None:
        self._locator = locator

    def look(self, frame: Frame) -> Look:
        """Return all parts; those that are not wholly in view without a picture."""
        return Look(located_views(self._locator, frame.image))


class LocatedTrigger:
    """Another trigger says when, and a locator which parts are there then.

    Args:
        trigger: Says when to look.
        locator: Finds the parts.
    """

    def __init__(self, trigger: Trigger, locator: Locator) -> None:
        self._trigger, self._locator = trigger, locator

    def look(self, frame: Frame) -> Look:
        """Return all parts in view when the other trigger would judge the whole picture."""
        look = self._trigger.look(frame)
        if not look.parts:
            return look
        return Look(located_views(self._locator, frame.image), look.ends, look.last)


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
            return Look()
        changed = float((np.abs(now - last) > self._level).mean())
        return _whole(frame.image if changed >= self._share else None)


class IntervalTrigger:
    """A part every so many seconds, whatever is in view.

    Args:
        seconds: Length of a passage.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._started: float | None = None

    def look(self, frame: Frame) -> Look:
        """Return the whole picture; begin anew after each interval."""
        started = self._started
        over = started is not None and frame.captured - started >= self._seconds
        if started is None or over:
            self._started = frame.captured
        return _whole(frame.image, ends=over)


class CommandTrigger:
    """A part when a line comes in: from a light barrier, a PLC's gateway, a person's Enter.

    Args:
        stream: Where lines come from; each asks for one verdict.
        frames: Frames to judge after each line.

    Attributes:
        locator: Finds the part that the picture is cut to, the largest wholly in view; without one
            there is no verdict. None judges the whole picture, whatever it shows.
    """

    def __init__(self, stream: TextIO = sys.stdin, frames: int = 5) -> None:
        self.locator: Locator | None = None
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
        shown = self._shown(frame.image) if wanted else None
        return _whole(shown, ends=asked or not wanted)

    def _shown(self, image: Image) -> Image | None:
        """Return what to judge of a picture: the part, all of it, or nothing."""
        if self.locator is None:
            return image
        found = self.locator.find_all(image)
        part = most_prominent(found)
        if part is None or not part.complete:
            return None
        return crop_alone(image, part, found, self.locator.scene)

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


def located_views(locator: Locator, image: Image) -> tuple[View, ...]:
    """Return the parts in uint8 (H, W, 3) BGR; without a picture those not wholly in view."""
    found = locator.find_all(image)
    scene = locator.scene
    return tuple(
        View(crop_alone(image, one, found, scene) if one.complete else None, one.box)
        for one in found
    )


def _whole(image: Image | None, *, ends: bool = False) -> Look:
    """Return a look at the whole picture, or at nothing."""
    return Look(() if image is None else (View(image),), ends)


def _reduced(image: Image) -> NDArray[np.float32]:
    """Return the picture small, grey and smooth: float32 (h, w)."""
    cv2: Any = require("cv2")
    scale = _WORK_SIDE / min(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (0, 0), 1.2)
    reduced: NDArray[np.float32] = grey.astype(np.float32)
    return reduced

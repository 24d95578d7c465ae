"""The camera assistant: what the last frames tell of a camera, with plain advice."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vision_edge.runtime.images.camera_meter import Meters, read_meters
from vision_edge.runtime.images.presence import Presence, crop_around
from vision_edge.runtime.images.quality import DARK_LEVEL, MIN_SHARPNESS
from vision_edge.runtime.pipeline.triggers import MotionTrigger
from vision_edge.runtime.recognition.part_consensus import Box
from vision_edge.runtime.recognition.part_motion import Velocity
from vision_edge.runtime.recognition.part_startup import Seen, StartUp
from vision_edge.runtime.sources.frame import Frame

Level = Literal["good", "fair", "bad"]
WELL_FOCUSED = 0.3
"""Sharpness from which on a picture is in focus for certain."""
CLIPPED = 0.02
"""Share of clipped pixels from which on the light is told; a reflection or two are fewer."""
SMALL, LARGE = 0.2, 0.85
"""A part's longer side as a share of the view's shorter one: below, its details are lost; above,
its surroundings are, by which it is found. Presence is tested from 0.05 to 0.95."""
FEW_FRAMES, LEAST_FRAMES = 5.0, 3.0
"""Frames of a passage below which a verdict may not settle; three agree when it does."""
_MOVE_S = 0.15
"""Seconds between two looks that speed is taken from."""
_FRAMES = 45
"""Frames that rate and trigger are taken from."""


@dataclass(frozen=True)
class Advice:
    """One thing that is well, or is not.

    Attributes:
        about: `focus`, `light`, `smear`, `size`, `trigger` or `passage`.
        level: How it is.
        message: What was found, for a person.
        fix: What to do about it; empty where it is well.
    """

    about: str
    level: Level
    message: str
    fix: str = ""


@dataclass(frozen=True)
class CameraReport:
    """What the last frames tell.

    Attributes:
        width: Of the frames, in pixels.
        height: Of the frames.
        frames: How many there were.
        rate: Frames a second; None before the second.
        meters: Of the part where one is known, of the picture otherwise.
        best: The best sharpness so far, of the part or of the picture as `meters` are: turn the
            lens until it comes back to that.
        fill: The part's longer side as a share of the view's shorter one; None without a part.
        seen: Whether the trigger sees something now.
        seen_share: Share of the last frames in which it did.
        speed: How far parts move, in pixels a second; None while that is not known.
        passage: Frames in which a part is wholly in view, at that speed and rate; None likewise.
        advice: What is well and what is not, by subject.
    """

    width: int
    height: int
    frames: int
    rate: float | None
    meters: Meters
    best: float
    fill: float | None
    seen: bool
    seen_share: float
    speed: float | None
    passage: float | None
    advice: tuple[Advice, ...]

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"advice": [asdict(one) for one in self.advice]}


class CameraCheck:
    """Looks at the frames of one camera, one after another.

    Args:
        presence: Knows the empty scene. Without it the trigger is `motion`, and of the part's size
            and speed nothing is known.
        every_frame: Whether it is shown every frame; where not, it must be told their rate.
    """

    def __init__(self, presence: Presence | None = None, *, every_frame: bool = True) -> None:
        self._presence, self._every_frame = presence, every_frame
        self._motion = MotionTrigger()
        self._times: deque[float] = deque(maxlen=_FRAMES)
        self._seen: deque[bool] = deque(maxlen=_FRAMES)
        self._moves = StartUp()
        self._moved_at = -math.inf
        self._velocity: Velocity | None = None
        self._box: Box | None = None
        self._whole = False
        self._given_rate: float | None = None
        self._frames = 0
        self._best = {True: 0.0, False: 0.0}  # of the part, of the picture
        self._meters: Meters | None = None
        self._size = (0, 0)

    def look(self, frame: Frame, at: float | None = None, rate: float | None = None) -> None:
        """Take the next frame.

        Args:
            frame: The frame.
            at: Its time in seconds, where it is not when it was captured.
            rate: Frames a second of the camera, where not all of them are looked at here.
        """
        self._given_rate = rate
        image = frame.image
        time = frame.captured if at is None else at
        if self._size != (image.shape[1], image.shape[0]):
            self._size, self._best = (image.shape[1], image.shape[0]), {True: 0.0, False: 0.0}
        self._frames += 1
        self._times.append(time)
        self._seen.append(self._sees(frame, time))
        cut = self._box is not None and self._whole
        shown = crop_around(image, self._box) if self._box is not None and cut else image
        self._meters = read_meters(shown)
        self._best[cut] = max(self._best[cut], self._meters.sharpness)

    def report(self) -> CameraReport | None:
        """Return what is known; None before the first frame."""
        if self._meters is None:
            return None
        speed, passage = self._passage()
        width, height = self._size
        fill = None
        if self._box is not None:
            fill = max(self._box[2] - self._box[0], self._box[3] - self._box[1]) / min(self._size)
        best = self._best[self._box is not None and self._whole]
        known = CameraReport(
            width, height, self._frames, self._rate(), self._meters, best, fill,
            self._seen[-1], float(np.mean(self._seen)), speed, passage, (),
        )  # fmt: skip
        return CameraReport(**{**vars(known), "advice": tuple(_advice(known, self._cut()))})

    def _sees(self, frame: Frame, time: float) -> bool:
        """Note what the trigger sees."""
        if self._presence is None:
            return bool(self._motion.look(frame).parts)
        found = self._presence.find_all(frame.image)
        largest = max(found, key=lambda one: _area(one.box), default=None)
        self._box = None if largest is None else largest.box
        self._whole = largest is not None and largest.complete
        if time - self._moved_at >= _MOVE_S:  # between two frames a box moves by its own grain
            boxes = tuple(one.box for one in found)
            self._moves.add(Seen(time, boxes, (None,) * len(boxes), self._size))
            self._moved_at = time
            velocity = self._moves.velocity(last=True)
            self._velocity = self._velocity if velocity is None else velocity
        return largest is not None

    def _cut(self) -> bool:
        return self._box is not None and not self._whole

    def _rate(self) -> float | None:
        """Return frames a second."""
        if not self._every_frame:
            return self._given_rate
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    def _passage(self) -> tuple[float | None, float | None]:
        """Return pixels a second, and the frames that a part is wholly in view."""
        velocity, rate = self._velocity, self._rate()
        if velocity is None or rate is None:
            return None, None
        speed = float(np.linalg.norm(velocity))
        if self._box is None or speed < 1.0:
            return speed, None
        axis = int(np.abs(velocity).argmax())
        room = self._size[axis] - (self._box[axis + 2] - self._box[axis])
        return speed, max(0.0, room / abs(float(velocity[axis]))) * rate


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _advice(report: CameraReport, cut: bool) -> list[Advice]:
    """Return what to tell a person."""
    meters = report.meters
    found = [_light(meters), _focus(meters, report.best), _smear(meters), _trigger(report)]
    if report.fill is not None:
        found.append(_size(report.fill, cut))
    if report.passage is not None and report.speed is not None:
        found.append(_of_passage(report.passage, report.speed))
    return found


def _light(meters: Meters) -> Advice:
    if meters.brightest < DARK_LEVEL:
        message = f"too dark: its brightest parts reach {meters.brightest:.0f} of 255"
        return Advice("light", "bad", message, "add light, or a longer exposure")
    if meters.white >= CLIPPED:
        level: Level = "bad" if meters.white >= 5 * CLIPPED else "fair"
        message = f"{100 * meters.white:.0f} % of it is burnt out"
        return Advice("light", level, message, "less light, or a shorter exposure")
    if meters.black >= 0.25:
        message = f"{100 * meters.black:.0f} % of it is black"
        return Advice("light", "fair", message, "light it from more sides, or open the lens")
    return Advice("light", "good", f"from {meters.darkest:.0f} to {meters.brightest:.0f} of 255")


def _focus(meters: Meters, best: float) -> Advice:
    said = f"sharpness {meters.sharpness:.2f}, best so far {best:.2f}"
    if meters.sharpness < MIN_SHARPNESS:
        fix = "turn the lens until it is highest, or go further away"
        return Advice("focus", "bad", f"out of focus: {said}", fix)
    if meters.sharpness < WELL_FOCUSED:
        return Advice("focus", "fair", f"not quite in focus: {said}", "turn the lens a little")
    return Advice("focus", "good", said)


def _smear(meters: Meters) -> Advice:
    if meters.smear <= 0:
        return Advice("smear", "good", "movement does not smear it")
    which = "rows" if meters.along == "x" else "columns"
    message = f"smeared along its {which} by {100 * meters.smear:.0f} % of its short side"
    fix = "a shorter exposure and more light, or a slower belt"
    return Advice("smear", "fair" if meters.smear < 0.04 else "bad", message, fix)


def _trigger(report: CameraReport) -> Advice:
    share = f"in {100 * report.seen_share:.0f} % of the last frames"
    if report.seen_share == 0:
        fix = "let a part pass; if it stays so, take a new picture of the empty scene"
        return Advice("trigger", "fair", "the trigger has seen nothing yet", fix)
    if report.seen_share == 1 and report.frames >= _FRAMES and report.speed is None:
        fix = "take the parts away; if it still sees something, take a new empty picture"
        return Advice("trigger", "fair", "the trigger sees something in every frame", fix)
    return Advice("trigger", "good", f"the trigger sees something {share}")


def _size(fill: float, cut: bool) -> Advice:
    said = f"the part takes {100 * fill:.0f} % of the view"
    if fill < SMALL:
        return Advice("size", "fair", said, "go nearer, or set a region of interest")
    if fill > LARGE:
        return Advice("size", "fair" if not cut else "bad", said, "go further away")
    return Advice("size", "good", said)


def _of_passage(frames: float, speed: float) -> Advice:
    said = f"a part is wholly in view for {frames:.1f} frames, at {speed:.0f} pixels a second"
    if frames < 1:
        fix = "a wider view, a slower belt or more frames a second: parts are missed"
        return Advice("passage", "bad", said, fix)
    if frames < FEW_FRAMES:
        level: Level = "bad" if frames < LEAST_FRAMES else "fair"
        return Advice("passage", level, said, "a wider view, a slower belt, more frames a second")
    return Advice("passage", "good", said)

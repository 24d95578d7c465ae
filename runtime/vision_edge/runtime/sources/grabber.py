"""An open connection to a camera or stream, and how to open one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading

Backend = Literal["auto", "opencv", "gstreamer"]


BACKENDS: tuple[Backend, ...] = ("auto", "opencv", "gstreamer")


@dataclass(frozen=True)
class Grabbed:
    """One frame as it came.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        timestamp: The stream's own, in seconds since any point; None where it has none to trust.
        number: The camera's own number of it, from 0; None where it has none.
        captured: When it was captured, in seconds of `time.monotonic`, where that is known.
    """

    image: Image
    timestamp: float | None
    number: int | None = None
    captured: float | None = None


class UnreadablePictureError(SourceError):
    """A camera answers, but with a picture that cannot be read: it is not lost, nor its cable."""


CHECK = "check cable, power and network, then start again"


def remedy_for(error: SourceError) -> str:
    """Return what to do where frames fail to come: the cable of a camera that answers is sound."""
    own = error.fix if isinstance(error, UnreadablePictureError) else None
    return own or CHECK


class Waiting:
    """Of a camera that is there and waits for its trigger: there is no frame, and none is due."""


WAITING = Waiting()


class Grabber(Protocol):
    """An open connection.

    Attributes:
        fps: Frames a second, where it is known.
        every_frame: Whether each frame counts, since each answers a trigger, and not the latest
            alone.
        lost: Frames that the camera took and that did not arrive.
        fired: Software triggers that were sent; each has taken a frame's number.
    """

    fps: float | None
    every_frame: bool = False
    lost: int = 0
    fired: int = 0

    def grab(self) -> Grabbed | Waiting | None:
        """Wait for the next frame; None when the connection has failed or nothing came in time."""

    def close(self) -> None:
        """Release the device or process."""


@dataclass(frozen=True)
class GrabberOptions:
    """How to open a connection.

    Attributes:
        backend: `"opencv"`, `"gstreamer"` (a pipe from `gst-launch-1.0`), or the best there is.
        exposure: Fixed exposure of a USB camera, in the driver's unit (V4L2: 100 microseconds).
        open_timeout: Seconds that opening may take.
        read_timeout: Seconds that a frame may take.
        reading: What pictures do not say of themselves, where an address gives single pictures.

    Raises:
        SourceError: If the backend is unknown, or the exposure is no number.
    """

    backend: Backend = "auto"
    exposure: float | None = None
    open_timeout: float = 5.0
    read_timeout: float = 5.0
    reading: Reading = AS_IT_SAYS

    def __post_init__(self) -> None:
        """Check the values."""
        if self.exposure is not None and not math.isfinite(self.exposure):
            raise SourceError(
                f"an exposure is a number; got {self.exposure}",
                fix="see `v4l2-ctl --list-ctrls` for the camera's range",
            )
        if self.backend not in BACKENDS:
            raise SourceError(
                f"unknown backend {self.backend!r}", fix=f"use one of {', '.join(BACKENDS)}"
            )

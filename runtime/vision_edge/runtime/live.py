"""Live sources: a camera or stream, of which only the latest frame matters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from vision_edge.runtime.errors import SourceError, require
from vision_edge.runtime.preprocess import Image
from vision_edge.runtime.sources import Frame, quiet_opencv

FIRST_FRAME_TIMEOUT = 10.0
LOST_AFTER = 5.0


class LiveSource:
    """A camera or stream, read by one thread into a one-slot buffer.

    A consumer that is slower than the camera skips frames and always gets the latest; one that is
    quicker waits for a new frame, and never sees the same one twice. Frames are stamped with the
    monotonic clock when the driver hands them over.

    Args:
        device: Device index, device file or stream address, as OpenCV takes it.
        name: What to call it; without credentials.
        lost_after: Seconds without a frame after which the source counts as lost.

    Raises:
        SourceError: If the device cannot be opened.
    """

    live = True

    def __init__(self, device: int | str, name: str, lost_after: float = LOST_AFTER) -> None:
        self.name = name
        self._lost_after = lost_after
        self._capture = _open(device, name)
        rate = float(self._capture.get(require("cv2").CAP_PROP_FPS))
        self.fps: float | None = rate if 0 < rate < 1000 else None
        self._condition = threading.Condition()
        self._slot: tuple[Image, int, float] | None = None
        self._ended = False
        self._closing = False
        self._thread = threading.Thread(target=self._read, name=f"source {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the latest frame, again and again, each at most once.

        Raises:
            SourceError: If no frame comes for longer than `lost_after`, or the stream ends.
        """
        last = -1
        while True:
            taken = self._take(last)
            if taken is None:
                return
            image, last, captured = taken
            yield Frame(image, self.name, last, captured)

    def close(self) -> None:
        """Stop the reader thread and release the device."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join(timeout=self._lost_after)
        if not self._thread.is_alive():
            self._capture.release()

    def _take(self, last: int) -> tuple[Image, int, float] | None:
        """Wait for a frame newer than number `last`; None once the source is closed."""
        timeout = self._lost_after if last >= 0 else FIRST_FRAME_TIMEOUT
        with self._condition:
            self._condition.wait_for(
                lambda: self._closing or self._ended or self._is_new(last), timeout
            )
            if self._closing:
                return None
            if self._slot is not None and self._is_new(last):
                return self._slot
            reason = "it stopped sending" if self._ended else f"no frame for {timeout:g} s"
        raise SourceError(
            f"camera or stream {self.name!r} is lost: {reason}",
            fix="check cable, power and network, then start again",
        )

    def _is_new(self, last: int) -> bool:
        return self._slot is not None and self._slot[1] > last

    def _read(self) -> None:
        """Read until closed or until the device fails; runs in its own thread."""
        number = 0
        while not self._closing:
            done, image = self._read_one()
            captured = time.monotonic()
            with self._condition:
                if not done:
                    self._ended = True
                else:
                    self._slot = (image, number, captured)
                self._condition.notify_all()
            if not done:
                return
            number += 1

    def _read_one(self) -> tuple[bool, Any]:
        """Read one frame; what OpenCV raises on a broken stream counts as its end."""
        try:
            done, image = self._capture.read()
        except require("cv2").error:
            return False, None
        return done, image


def _open(device: int | str, name: str) -> Any:
    cv2 = require("cv2")
    local = isinstance(device, int) or device.startswith("/dev/")
    with quiet_opencv():
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2 if local else cv2.CAP_ANY)
    if not capture.isOpened():
        raise SourceError(
            f"no camera or stream answers at {name!r}",
            fix="list cameras with `ls /dev/video*`; check that you may read the device "
            "(group video) and that no other program holds it"
            if local
            else "check the address and that the stream plays elsewhere",
        )
    return capture

"""Previews: each frame is encoded once, however many look at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.source_line import Line

WIDTHS = (160, 320, 480, 640, 960, 1280, 1920)
"""What is offered; a width between two is answered with the larger."""

MAX_FPS = 15.0
BOUNDARY = "frame"
_END = f"--{BOUNDARY}\r\n".encode()
_REPEAT_SECONDS = 2.0
_QUALITY = 80


@dataclass(frozen=True)
class Encoded:
    """A frame as JPEG."""

    frame: Frame
    jpeg: bytes


class Previews:
    """Encodes the latest frame of a line, once a frame and width; for the event loop only."""

    def __init__(self) -> None:
        self.encoded = 0
        self._kept: dict[tuple[str, int], Encoded] = {}
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}

    async def latest(self, line: Line, width: int) -> Encoded | None:
        """Return the latest frame of a line at a width of `WIDTHS`, or None before the first."""
        key = (line.name, width)
        async with self._locks.setdefault(key, asyncio.Lock()):
            frame, kept = line.latest, self._kept.get(key)
            if frame is None or (kept is not None and kept.frame is frame):
                return kept
            jpeg = await asyncio.to_thread(_encoded, frame.image, width)
            self.encoded += 1
            made = self._kept[key] = Encoded(frame, jpeg)
            return made

    async def stream(
        self, line: Line, width: int, fps: float, ended: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Deliver a line's frames as parts of `multipart/x-mixed-replace`.

        Each part is ended at once, not by the next: a browser shows a part when it has seen its
        end, and would be one frame late. A frame that stays is sent again every two seconds: so
        a viewer who has gone is noticed.

        Args:
            line: The line.
            width: Of `WIDTHS`.
            fps: Frames a second, at most.
            ended: Whether the station stops.
        """
        last: Encoded | None = None
        sent = 0.0
        yield _END
        while not ended():
            began = time.monotonic()
            encoded = await self.latest(line, width)
            if encoded is not None and (encoded is not last or began - sent > _REPEAT_SECONDS):
                last, sent = encoded, began
                yield part_of(encoded)
            await asyncio.sleep(max(0.005, began + 1.0 / fps - time.monotonic()))


def part_of(encoded: Encoded) -> bytes:
    """Return one part of the stream, with the line that ends it and begins the next."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in frame_headers(encoded).items())
    return (
        f"Content-Type: image/jpeg\r\nContent-Length: {len(encoded.jpeg)}\r\n"
        f"{headers}\r\n"
    ).encode() + encoded.jpeg + b"\r\n" + _END  # fmt: skip


def frame_headers(encoded: Encoded) -> dict[str, str]:
    """Return the number and age of a frame, as headers."""
    age_ms = 1000 * (time.monotonic() - encoded.frame.captured)
    return {"X-Frame-Number": str(encoded.frame.number), "X-Frame-Age-Ms": f"{age_ms:.1f}"}


def offered(width: int) -> int:
    """Return the least width of `WIDTHS` that is at least `width`."""
    return next((offer for offer in WIDTHS if offer >= width), WIDTHS[-1])


def frame_jpeg(image: Image) -> bytes:
    """Return a whole picture as JPEG, at most as wide as the widest preview."""
    return _encoded(image, WIDTHS[-1])


def _encoded(image: Image, width: int) -> bytes:
    cv2: Any = require("cv2")
    if image.shape[1] > width:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return encode_jpeg(image, _QUALITY)

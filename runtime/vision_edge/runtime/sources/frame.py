"""One frame, and what delivers frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vision_edge.runtime.arrays import Image

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Frame:
    """One frame of a source.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        source: The file or stream it came from.
        number: Its number in the source, from 0.
        captured: When it was captured or read, in seconds of `time.monotonic`.
    """

    image: Image
    source: str
    number: int
    captured: float


class Source(Protocol):
    """Something that delivers frames.

    Attributes:
        name: What a user calls it; never holds credentials.
        live: Whether frames pass whether or not anyone looks, so that old ones are worthless.
        fps: Frames a second, where it is known.
    """

    name: str
    live: bool
    fps: float | None

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames; a file source ends, a live one does not."""

    def close(self) -> None:
        """Release the device or file."""

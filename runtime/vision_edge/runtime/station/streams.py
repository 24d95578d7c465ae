"""Places for streams: only so many connections may stay open at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from vision_edge.runtime.station.request_error import RequestError

T = TypeVar("T")


class Streams:
    """Counts open streams; for the event loop only.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self.open = 0
        self._most = most

    def take(self) -> Place:
        """Return a place, which counts once its stream begins.

        Raises:
            RequestError: 503, if all are taken.
        """
        if self.open >= self._most:
            raise RequestError(
                503, "too_many_streams", f"{self.open} streams are open already",
                "close other pages of this station", headers={"Retry-After": "5"},
            )  # fmt: skip
        return Place(self)


class Place:
    """One stream's place."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def around(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Deliver the items of a stream, and free its place when it ends or is left."""
        self._streams.open += 1
        try:
            assert isinstance(items, AsyncGenerator)
            async with aclosing(items):
                async for item in items:
                    yield item
        finally:
            self._streams.open -= 1

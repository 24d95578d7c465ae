"""Streams: answers that stay open, only so many at once, and each closed whatever ends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vision_edge.station.http.request_error import RequestError

Items = AsyncGenerator[str, None] | AsyncGenerator[bytes, None]


class Streams:
    """Counts open streams; for the event loop only.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self.open = 0
        self._most = most

    def answer(
        self, items: Items, media_type: str, headers: Mapping[str, str] | None = None
    ) -> StreamingResponse:
        """Return an answer of items as they come; it counts while it is open.

        Raises:
            RequestError: 503, if there are too many already.
        """
        if self.open >= self._most:
            raise RequestError(
                503, "too_many_streams", f"{self.open} streams are open already",
                "close other pages of this station", headers={"Retry-After": "5"},
            )  # fmt: skip
        return _Stream(self, items, media_type, headers)


class _Stream(StreamingResponse):
    """An answer that closes its items at its end, also when the client has gone."""

    def __init__(
        self, streams: Streams, items: Items, media_type: str, headers: Mapping[str, str] | None
    ) -> None:
        super().__init__(items, media_type=media_type, headers=headers)
        self._streams, self._items = streams, items

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.open += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.open -= 1
            with anyio.CancelScope(shield=True):
                await self._items.aclose()

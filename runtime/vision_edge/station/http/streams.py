"""Streams: answers that stay open, only so many at once, and each closed whatever ends it.

A stream lasts as long as the authority of who asked for it: that is asked for again every second,
and at once when somebody logs out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vision_edge.station.http.request_error import RequestError

Items = AsyncGenerator[str, None] | AsyncGenerator[bytes, None]
CHECK_SECONDS = 1.0
"""A stream whose authority has ended lasts no longer than this."""
_END_SECONDS = 1.0


class Streams:
    """Counts open streams; for the event loop only, but for `recheck`.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self.open = 0
        self._most = most
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checks: set[asyncio.Event] = set()

    def answer(
        self,
        items: Items,
        media_type: str,
        authority: Callable[[], bool],
        headers: Mapping[str, str] | None = None,
    ) -> StreamingResponse:
        """Return an answer of items as they come; it counts while it is open.

        Args:
            items: What is sent.
            media_type: What that is.
            authority: Whether who asked may still see it.
            headers: Of the answer.

        Raises:
            RequestError: 503, if there are too many already.
        """
        if self.open >= self._most:
            raise RequestError(
                503, "too_many_streams", f"{self.open} streams are open already",
                "close other pages of this station", headers={"Retry-After": "5"},
            )  # fmt: skip
        return _Stream(self, items, media_type, authority, headers)

    def recheck(self) -> None:
        """Have all streams look at their authority now; from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and so have they
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for check in self._checks:
            check.set()

    async def until_ended(self, authority: Callable[[], bool]) -> None:
        """Wait until an authority holds no longer."""
        self._loop, check = asyncio.get_running_loop(), asyncio.Event()
        self._checks.add(check)
        try:
            while authority():
                check.clear()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(check.wait(), CHECK_SECONDS)
        finally:
            self._checks.discard(check)


class _Stream(StreamingResponse):
    """An answer that closes its items at its end, also when the client has gone."""

    def __init__(
        self,
        streams: Streams,
        items: Items,
        media_type: str,
        authority: Callable[[], bool],
        headers: Mapping[str, str] | None,
    ) -> None:
        super().__init__(items, media_type=media_type, headers=headers)
        self._streams, self._items, self._authority = streams, items, authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.open += 1
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, group.cancel_scope)
                await super().__call__(scope, receive, send)
                group.cancel_scope.cancel()
            if not self._authority():
                with anyio.move_on_after(_END_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.open -= 1
            with anyio.CancelScope(shield=True):
                await self._items.aclose()

    async def _watch(self, scope: anyio.CancelScope) -> None:
        await self._streams.until_ended(self._authority)
        scope.cancel()

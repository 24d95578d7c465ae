"""Streams: answers that stay open, only so many at once, and each closed whatever ends it.

A stream lasts as long as the authority of who asked for it: that is asked for again every second,
and at once when somebody logs out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import anyio
from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vision_edge.station.core.limits import neighbourhood
from vision_edge.station.http.auth import Auth, client_of
from vision_edge.station.http.request_error import RequestError

Items = AsyncGenerator[str, None] | AsyncGenerator[bytes, None]
CHECK_SECONDS = 1.0
"""A stream whose authority has ended lasts no longer than this."""
_END_SECONDS = 1.0


class Streams:
    """Counts open streams; for the event loop only, but for `recheck`.

    Args:
        most: How many there may be; of one user at one address a quarter of them.
    """

    def __init__(self, most: int) -> None:
        self.open = 0
        self._most, self._most_each = most, max(1, most // 4)
        self._each: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checks: set[asyncio.Event] = set()

    def answer(
        self,
        items: Items,
        media_type: str,
        request: Request,
        headers: Mapping[str, str] | None = None,
    ) -> StreamingResponse:
        """Return an answer of items as they come; it counts while it is open.

        Args:
            items: What is sent.
            media_type: What that is.
            request: Who asked, and may see it.
            headers: Of the answer.

        Raises:
            RequestError: 503, if there are too many already.
        """
        who = f"{request.state.user} at {neighbourhood(client_of(request.scope))}"
        if self.open >= self._most or self._each[who] >= self._most_each:
            raise RequestError(
                503, "too_many_streams", "too many streams are open already",
                "close other pages of this station", headers={"Retry-After": "5"},
            )  # fmt: skip
        auth: Auth = request.app.state.auth
        return _Stream(self, who, items, media_type, auth.authority(request), headers)

    @contextmanager
    def counted(self, who: str) -> Iterator[None]:
        """Count a stream of somebody's for a block."""
        self.open += 1
        self._each[who] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._each[who] -= 1
            self._each += Counter()  # forgets who has none

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
        who: str,
        items: Items,
        media_type: str,
        authority: Callable[[], bool],
        headers: Mapping[str, str] | None,
    ) -> None:
        super().__init__(items, media_type=media_type, headers=headers)
        self._streams, self._who = streams, who
        self._items, self._authority = items, authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.counted(self._who):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, group.cancel_scope)
                await super().__call__(scope, receive, send)
                group.cancel_scope.cancel()
            if not self._authority():
                with anyio.move_on_after(_END_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            with anyio.CancelScope(shield=True):
                await self._items.aclose()

    async def _watch(self, scope: anyio.CancelScope) -> None:
        await self._streams.until_ended(self._authority)
        scope.cancel()

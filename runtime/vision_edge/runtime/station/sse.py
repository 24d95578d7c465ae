"""Server-sent events: what happens at the station, as text that browsers reconnect to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from vision_edge.runtime.station.hub import Event, Subscription
from vision_edge.runtime.station.service import Station

HEARTBEAT_SECONDS = 10.0


async def events_of(
    subscription: Subscription, heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncIterator[Event | None]:
    """Deliver a subscription's events in the event loop; None after `heartbeat` silent seconds."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    subscription.notify(lambda: loop.call_soon_threadsafe(woken.set))
    try:
        while True:
            woken.clear()
            while (event := subscription.get()) is not None:
                yield event
            if subscription.closed:
                return
            try:
                await asyncio.wait_for(woken.wait(), heartbeat)
            except asyncio.TimeoutError:
                yield None
    finally:
        subscription.close()


async def event_stream(station: Station) -> AsyncIterator[str]:
    """Deliver everything that happens as server-sent events."""
    yield "retry: 2000\n\n"
    async for event in events_of(station.subscribe()):
        yield ": still here\n\n" if event is None else _text(*event)


def _text(kind: str, data: dict[str, Any]) -> str:
    identifier = f"id: {data['id']}\n" if "id" in data else ""
    return f"{identifier}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"

"""Server-sent events: what happens at the station, as text that browsers reconnect to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from vision_edge.station.core.event_hub import Event, Subscription
from vision_edge.station.core.station import Station

HEARTBEAT_SECONDS = 10.0
MISSED = 200
"""Verdicts that a reconnected listener is told of at most."""


async def events_of(
    subscription: Subscription, heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncGenerator[Event | None, None]:
    """Deliver a subscription's events in the event loop; None after `heartbeat` silent seconds."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(woken.set)

    subscription.notify(wake)
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


async def event_stream(station: Station, after: str = "") -> AsyncGenerator[str, None]:
    """Deliver everything that happens as server-sent events.

    Args:
        station: The station.
        after: A verdict's identifier: those that came since, as far as they are kept, come first.
            After one of another run, these are all of this run.
    """
    if after and not station.identifiers.of_this_run(after):
        after = "0"
    subscription = station.subscribe()
    try:
        yield "retry: 2000\n\n"
        told: set[str] = set()
        for record in reversed(station.records(MISSED)) if after else ():
            if record["id"] > after:
                told.add(record["id"])
                yield _text("verdict", record)
        async with aclosing(events_of(subscription)) as events:
            async for event in events:
                if event is None:
                    yield ": still here\n\n"
                elif event[1].get("id") not in told:  # two sources' may come in another order
                    yield _text(*event)
    finally:
        subscription.close()


def _text(kind: str, data: dict[str, Any]) -> str:
    identifier = f"id: {data['id']}\n" if "id" in data else ""
    return f"{identifier}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"

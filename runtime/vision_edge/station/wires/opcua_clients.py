"""The clients of the OPC UA server: nobody holds a place there in silence, or all of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from vision_edge.station.core.limits import neighbourhood

MAX_CLIENTS, MAX_PER_CLIENT = 100, 16
RESERVE = 8
"""Places that are cleared of clients without a session, so that a newcomer is served at once."""
ACTIVATION_SECONDS = 10.0
"""A client that has opened no session by then is disconnected."""
SESSION_SECONDS = 300.0
"""A session in which nothing is asked for so long ends, whatever time-out it asked for."""
UNREAD_SECONDS = 15.0
"""A client that does not read for so long what it asked for is disconnected."""
_SWEEP_SECONDS = 0.25


def bound(server: Any) -> None:
    """Have an asyncua server that is not started limit connections and sessions."""
    inner = server.iserver
    inner.max_connections = MAX_CLIENTS
    inner.max_pending_activation_seconds = ACTIVATION_SECONDS
    inner.max_session_timeout_ms = 1000 * SESSION_SECONDS


async def sweep(server: Any) -> None:
    """End clients that are too many of one address, in the way, or do not read, until cancelled."""
    unread: dict[int, float] = {}
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        clients = [one for one in server.bserver.clients if one.transport is not None]
        for client in _too_many(clients):
            client.transport.abort()
        now = time.monotonic()
        waiting = [one for one in clients if one.transport.get_write_buffer_size() > 0]
        unread = {id(one): unread.get(id(one), now) for one in waiting}
        for client in waiting:
            if now - unread[id(client)] > UNREAD_SECONDS:
                client.transport.abort()


def _too_many(clients: list[Any]) -> list[Any]:
    """Return who must go; of each address and in all, first those without a session, oldest first.

    asyncua keeps its clients in the order in which they came.
    """
    gone: list[Any] = []
    by_address: dict[str, list[Any]] = {}
    for client in clients:
        address = str(client.peer_name[0]) if client.peer_name else "-"
        by_address.setdefault(neighbourhood(address), []).append(client)
    for own in by_address.values():
        spare = sorted(own, key=_has_session)
        gone += spare[: max(0, len(own) - MAX_PER_CLIENT)]
    left = [one for one in clients if one not in gone]
    silent = [one for one in left if not _has_session(one)]
    return gone + silent[: max(0, len(left) - (MAX_CLIENTS - RESERVE))]


def _has_session(client: Any) -> bool:
    session = getattr(client.processor, "session", None)
    return session is not None and bool(session.is_activated())

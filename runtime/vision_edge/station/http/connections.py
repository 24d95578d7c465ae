"""Connections: how many there may be, and how long each may say nothing or read nothing.

When all places are taken the newcomer is not the one to go: the place is taken from whoever has
been there longest without saying who they are. So whoever holds a connection in silence only holds
it until it is needed, and probes and signed-in users are served throughout.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vision_edge.station.core.limits import neighbourhood
from vision_edge.station.http.tls import Door

HEAD_SECONDS = 10.0
"""So long may a request's head take to come in."""
UNREAD_SECONDS = 15.0
"""So long may an answer wait to be read any further."""
CLOSE_SECONDS = 5.0
"""So long may the rest of an answer take to leave once the connection is to be closed."""
UNWANTED_BYTES, UNWANTED_BYTES_OF_USERS = 64 << 10, 32 << 20
"""Of a body whose request is answered already, so much is still taken in, of nobody known and of
known users: enough for them to find the answer behind it. Then nothing is read any more."""
UNWANTED_SECONDS = 1.0
"""And so long after that the connection ends."""
_OTHER_DESCRIPTORS = 256
"""Left to cameras, galleries, wires and files."""


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be.

    Attributes:
        most: In all.
        most_per_client: Of one address; of a trusted proxy there may be as many as in all.
        proxies: The trusted ones.
    """

    most: int
    most_per_client: int
    proxies: Sequence[IPv4Network | IPv6Network] = ()

    def of(self, client: str) -> int:
        """Return how many a client may have."""
        try:
            trusted = any(ip_address(client) in network for network in self.proxies)
        except ValueError:
            trusted = False
        return self.most if trusted else min(self.most, self.most_per_client)


class Connections:
    """The open connections of a server; for the event loop only.

    Args:
        limits: How many there may be.
        context: Answers TLS; None serves plain HTTP.

    Attributes:
        cut: How many were ended because their place was needed, or they said or read nothing.
    """

    def __init__(self, limits: ConnectionLimits, context: ssl.SSLContext | None = None) -> None:
        self.limits = limits
        self.cut = 0
        self._context = context
        self._open: set[Connection | Door] = set()

    def __len__(self) -> int:
        return len(self._open)

    def protocol(self, **given: Any) -> Connection | Door:
        """Return the protocol of a new connection, as uvicorn asks for it."""
        connection = Connection(self, **given)
        return connection if self._context is None else Door(self, self._context, connection)

    def enter(self, connection: Connection | Door) -> None:
        """Take a connection in; another, or it itself, goes where there are too many."""
        self._open.add(connection)
        own = [other for other in self._open if other.near == connection.near]
        if len(own) > self.limits.of(connection.address):
            self._end_one_of(own)
        elif len(self._open) > self.limits.most:
            self._end_one_of(list(self._open))

    def leave(self, connection: Connection | Door) -> None:
        """Forget a connection."""
        self._open.discard(connection)

    def sweep(self) -> None:
        """End every connection that has been silent, or unread, for too long."""
        now = time.monotonic()
        for connection in [one for one in self._open if one.is_overdue(now)]:
            self._end(connection)

    def _end_one_of(self, connections: list[Connection | Door]) -> None:
        served = [one for one in connections if one.known and not one.waits]
        spare = [one for one in connections if one not in served]
        newest = max(connections, key=lambda one: one.came)
        self._end(min(spare, key=lambda one: (one.known, one.came)) if spare else newest)

    def _end(self, connection: Connection | Door) -> None:
        self.cut += 1
        self.leave(connection)
        if connection.transport is not None:
            connection.transport.abort()


class Connection(H11Protocol):
    """A connection that knows since when it waits, and for what.

    Args:
        connections: Those of its server.
        given: What uvicorn gives a protocol.

    Attributes:
        known: Whether its last request was of a known user; the guard says so.
        came: When it came, in seconds of `time.monotonic`.
        since: When it last began to wait or to be served, in seconds of `time.monotonic`.
        address: The client's.
        near: Whom that address stands for.
    """

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.known = False
        self.came = self.since = time.monotonic()
        self.address = self.near = "-"
        self.app_state = {**self.app_state, "connection": self}
        self._connections = connections
        self._served: object = None
        self._unread: float | None = None
        self._closing: float | None = None
        self._early: bytearray | None = bytearray()
        self._unwanted = 0
        self._given_up: float | None = None

    @property
    def waits(self) -> bool:
        """Whether no request is being served."""
        return self.cycle is None or self.cycle.response_complete

    def is_overdue(self, now: float) -> bool:
        """Whether it has kept the station waiting for too long."""
        if self._given_up is not None and now - self._given_up > UNWANTED_SECONDS:
            return True
        if self.transport.is_closing():
            self._closing = self._closing or now
            return now - self._closing > CLOSE_SECONDS
        if self._unread is not None and now - self._unread > UNREAD_SECONDS:
            return True
        return self.waits and now - self.since > HEAD_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place."""
        super().connection_made(transport)
        self.came = self.since = time.monotonic()
        self.address = self.client[0] if self.client else "-"
        self.near = neighbourhood(self.address)
        self._connections.enter(self)
        early, self._early = self._early, None
        if early:
            super().data_received(bytes(early))

    def data_received(self, data: bytes) -> None:
        """Take data in; what comes right behind a TLS handshake may come before its transport."""
        if self._early is not None:
            self._early += data
        elif not self._is_unwanted(len(data)):
            super().data_received(data)

    def _is_unwanted(self, size: int) -> bool:
        """Count what comes of a body whose request is answered; at its limit, read no more."""
        if self._given_up is not None:
            return True
        if self.waits and self.conn.their_state is h11.SEND_BODY:
            self._unwanted += size
            if self._unwanted > (UNWANTED_BYTES_OF_USERS if self.known else UNWANTED_BYTES):
                self._given_up = time.monotonic()
                self.transport.pause_reading()
        return self._given_up is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave it."""
        self._connections.leave(self)
        if self._early is None:
            super().connection_lost(exc)

    def handle_events(self) -> None:
        """Note when a request begins to be served."""
        super().handle_events()
        if self.cycle is not self._served:
            self._served, self.since = self.cycle, time.monotonic()

    def on_response_complete(self) -> None:
        """Note that it waits for the next request."""
        self.since = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that what is sent is not read."""
        self._unread = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it is."""
        self._unread = None
        super().resume_writing()


def descriptors_for(most: int) -> int:
    """Return for how many connections, of at most `most`, this process may have descriptors.

    Its limit is raised as far as that needs and the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        most = min(most, max(8, soft - _OTHER_DESCRIPTORS))
    return most

"""TLS with a door: a connection is counted, and has a deadline, before its handshake begins.

Uvicorn hands TLS to asyncio, which tells nobody of a connection until its handshake is done, and
waits a minute for that. Here the plain connection is accepted, taken in like any other, and goes on
to TLS by `loop.start_tls`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Protocol

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.limits import neighbourhood

HANDSHAKE_SECONDS = 10.0
"""So long may a TLS handshake take."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what answers TLS with a certificate.

    Raises:
        VisionEdgeError: If certificate or key cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise VisionEdgeError(
            f"[server] tls_cert {certificate} or tls_key {key} cannot be used ({error})",
            fix="give PEM files that belong together, the key without a passphrase",
        ) from error
    return context


class Places(Protocol):
    """Where connections are counted."""

    def enter(self, connection: Door) -> None:
        """Take one in."""

    def leave(self, connection: Door) -> None:
        """Forget one."""


class Door(asyncio.Protocol):
    """A connection until its handshake is done; it counts like one that has said nothing.

    Args:
        connections: Counts those of its server.
        context: Answers TLS.
        inner: Takes over after the handshake.
    """

    known = False
    waits = True

    def __init__(
        self, connections: Places, context: ssl.SSLContext, inner: asyncio.Protocol
    ) -> None:
        self.came = time.monotonic()
        self.address = self.near = "-"
        self.transport: asyncio.Transport | None = None
        self._connections, self._context, self._inner = connections, context, inner
        self._shaking: asyncio.Task[None] | None = None

    def is_overdue(self, now: float) -> bool:
        """Whether its handshake takes too long."""
        return now - self.came > HANDSHAKE_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, and begin the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "-"
        self.near = neighbourhood(self.address)
        self._connections.enter(self)
        self._shaking = asyncio.get_running_loop().create_task(self._shake(transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave it."""
        self._connections.leave(self)

    async def _shake(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                transport,
                self._inner,
                self._context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, asyncio.TimeoutError):  # not TLS, too slow, or gone
            transport.abort()
            secured = None
        finally:
            self._connections.leave(self)
        if secured is not None:
            self._inner.connection_made(secured)

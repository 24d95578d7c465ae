"""The HTTP server of a station: uvicorn, set up in code, and ended within seconds."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.attached import wires_of
from vision_edge.station.core.station import Station
from vision_edge.station.http.app import create_app
from vision_edge.station.http.connections import (
    ConnectionLimits,
    Connections,
    descriptors_for,
)
from vision_edge.station.http.tls import server_context
from vision_edge.station.settings.station import StationSettings
from vision_edge.station.systemd import Notifier

GRACE_SECONDS = 1
_MAX_HEADERS = 32 * 1024
_TICKS = 5
"""Of a tenth of a second, between two looks at the connections."""


def run_server(settings: StationSettings, serving: Callable[[str], object]) -> None:
    """Run a station until SIGTERM or SIGINT.

    Args:
        settings: Of the station.
        serving: Called with the page's address once it can be opened.

    Raises:
        VisionEdgeError: If bundle, gallery or settings are not fit, or the port is taken.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Station(settings) as station:
        for wire in wires_of(station):
            station.add_wire(wire)
        server = StationServer(station, serving)
        with suppress(SystemExit):  # uvicorn's answer to a port that is taken
            server.run()
        if not server.started:
            raise VisionEdgeError(
                f"cannot serve on {settings.server.host}:{settings.server.port}",
                fix="see above why; another program may use that port",
            )


class StationServer(uvicorn.Server):
    """A server that ends its streams when it is to stop, so that it need not wait for them.

    Args:
        station: A started station.
        serving: Called with the page's address once it can be opened.
    """

    def __init__(self, station: Station, serving: Callable[[str], object] = str) -> None:
        server = station.settings.server
        self._connections = Connections(
            ConnectionLimits(
                descriptors_for(server.max_connections),
                server.max_connections_per_client,
                server.trusted_proxies,
            ),
            server_context(server.tls_cert, server.tls_key)
            if server.tls_cert is not None and server.tls_key is not None
            else None,
        )
        super().__init__(_config(station, self._connections))
        self._station, self._serving = station, serving
        self._notifier = Notifier()

    @property
    def address(self) -> str:
        """The page's address, with the port that is in use."""
        settings = self._station.settings.server
        bound = [socket.getsockname()[1] for server in self.servers for socket in server.sockets]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"{'https' if settings.tls else 'http'}://{host}:{bound[0]}"

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._serving(self.address)
            self._notifier.ready(f"serving on {self.address}")

    async def on_tick(self, counter: int) -> bool:
        """Tell systemd that the event loop turns; end connections that say or read nothing."""
        if counter % _TICKS == 0:
            self._connections.sweep()
        self._notifier.beat()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: Any = None) -> None:
        """End the streams, then all connections."""
        self._notifier.stopping()
        self._station.hub.close()
        await super().shutdown(sockets)


def _config(station: Station, connections: Connections) -> uvicorn.Config:
    server = station.settings.server
    return uvicorn.Config(
        create_app(station),
        host=server.host,
        port=server.port,
        http=connections.protocol,  # type: ignore[arg-type]
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(server.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in server.trusted_proxies],
        timeout_keep_alive=5,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=_MAX_HEADERS,
        use_colors=False,
    )

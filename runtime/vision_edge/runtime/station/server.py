"""The HTTP server of a station: uvicorn, set up in code, and ended within seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import uvicorn

from vision_edge.runtime.station.app import create_app
from vision_edge.runtime.station.service import Station
from vision_edge.runtime.station.settings import ServerSettings, StationSettings

GRACE_SECONDS = 1


def run_server(settings: StationSettings, serving: Callable[[str], None]) -> None:
    """Run a station until SIGTERM or SIGINT.

    Args:
        settings: Of the station.
        serving: Called with the page's address once it can be opened.

    Raises:
        VisionEdgeError: If bundle, gallery or settings are not fit.
    """
    with Station(settings) as station:
        _Server(_config(station, settings.server), station, serving).run()


class _Server(uvicorn.Server):
    """A server that ends its streams when it is to stop, so that it need not wait for them."""

    def __init__(
        self, config: uvicorn.Config, station: Station, serving: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._station, self._serving = station, serving

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._serving(address_of(self, self._station.settings.server))

    async def shutdown(self, sockets: Any = None) -> None:
        self._station.hub.close()
        await super().shutdown(sockets)


def address_of(server: uvicorn.Server, settings: ServerSettings) -> str:
    """Return the page's address, with the port that is in use."""
    port = next((s.getsockname()[1] for x in server.servers for s in x.sockets), settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls else 'http'}://{host}:{port}"


def _config(station: Station, server: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(station),
        host=server.host,
        port=server.port,
        ssl_certfile=server.tls_cert,
        ssl_keyfile=server.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=32 * 1024,
        backlog=128,
        use_colors=False,
    )

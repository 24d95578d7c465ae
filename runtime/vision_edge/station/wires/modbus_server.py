"""A Modbus TCP server in which nobody holds a place in silence."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from vision_edge.runtime.errors import require
from vision_edge.station.core.limits import neighbourhood

MAX_CLIENTS, MAX_PER_CLIENT = 64, 16
IDLE_SECONDS = 60.0
"""A client that asks nothing for so long is disconnected; it may come again."""
SWEEP_SECONDS = 1.0


def limited_server(device: Any, address: tuple[str, int]) -> Any:
    """Return pymodbus' server with a cap on clients, in all and of one address.

    Where all places are taken, the client that has asked nothing for the longest goes.

    Args:
        device: What it serves.
        address: Host and port.
    """
    base = require("pymodbus.server").ModbusTcpServer
    handler = require("pymodbus.server.requesthandler").ServerRequestHandler

    class Client(handler):  # type: ignore[misc, valid-type]
        """A connection that knows when it was last heard of."""

        heard = math.inf
        near = "-"

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.heard = time.monotonic()
            peer = transport.get_extra_info("peername")
            self.near = neighbourhood(str(peer[0])) if peer else "-"
            self._make_room()

        def data_received(self, data: bytes) -> None:
            self.heard = time.monotonic()
            super().data_received(data)

        def _make_room(self) -> None:
            everybody = list(self.server.active_connections.values())
            own = [one for one in everybody if one.near == self.near]
            if len(own) > MAX_PER_CLIENT:
                _end_quietest(own)
            elif len(everybody) > MAX_CLIENTS:
                _end_quietest(everybody)

    class Server(base):  # type: ignore[misc, valid-type]
        """A server of such connections."""

        def callback_new_connection(self) -> Client:
            return Client(self, self.trace_packet, self.trace_pdu, self.trace_connect)

    return Server(device, address=address)


async def sweep(server: Any) -> None:
    """End clients that ask nothing, or do not read what they asked for, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        until = time.monotonic() - IDLE_SECONDS
        for client in list(server.active_connections.values()):
            transport = client.transport
            unread = transport is not None and transport.get_write_buffer_size() > 0
            if client.heard < until or unread:
                _end(client)


def _end_quietest(clients: list[Any]) -> None:
    _end(min(clients, key=lambda one: float(one.heard)))


def _end(client: Any) -> None:
    if client.transport is not None:
        client.transport.abort()

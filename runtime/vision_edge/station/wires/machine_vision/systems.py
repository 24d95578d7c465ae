"""All vision systems of a station, as the OPC UA wire has them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vision_edge.runtime.errors import require
from vision_edge.station.core.wire import Record
from vision_edge.station.wires.machine_vision.methods import Station, VisionMethods
from vision_edge.station.wires.machine_vision.system import Facts, VisionSystem
from vision_edge.station.wires.machine_vision.types import VisionTypes


class VisionSystems:
    """A vision system for each source; used in the server's event loop alone.

    Args:
        server: The server, of asyncua, not started.
        types: The types.
        commanded: Sources that are judged on command.
        facts: What the systems tell of the station.
        station: What the station does for them.
    """

    def __init__(
        self,
        server: Any,
        types: VisionTypes,
        commanded: Collection[str],
        facts: Facts,
        station: Station,
    ) -> None:
        self._server, self._types, self._commanded = server, types, frozenset(commanded)
        self._facts, self._station = facts, station
        self._systems: dict[str, VisionSystem] = {}

    async def add(self, source: str, parent: Any) -> None:
        """Make a source's vision system.

        Args:
            source: The source's name.
            parent: Its node.
        """
        ua = require("asyncua.ua")
        system = VisionSystem(
            self._server, self._types, source, source in self._commanded, self._facts
        )
        own = ua.NodeId(f"{parent.nodeid.Identifier}/VisionSystem", parent.nodeid.NamespaceIndex)
        await system.build(parent, own)
        await VisionMethods(self._server, self._types, system, self._station).link()
        self._systems[source] = system

    async def take(self, source: str, now: dict[str, Any], record: Record | None) -> None:
        """Show what has changed of a source.

        Args:
            source: The source's name.
            now: All its variables, as the wire shows them.
            record: A verdict, if that is what came.
        """
        system = self._systems[source]
        if record is not None:
            await system.verdict(record)
        await system.state(now)
